//! What costs are added up by.

use std::fmt;
use std::str::FromStr;

use super::row::Row;

/// What a report adds up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// UTC days.
    Day,
    /// Namespaces of clusters.
    Namespace,
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// Accounts.
    Account,
    /// Clusters.
    Cluster,
    /// The values of a tag.
    Tag(String),
}

/// A text that names nothing to add up by.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not one of day, namespace, pod, node, account, cluster, tag:KEY")]
pub struct BadBy(String);

impl FromStr for By {
    type Err = BadBy;

    fn from_str(text: &str) -> Result<Self, BadBy> {
        Ok(match text {
            "day" => Self::Day,
            "namespace" => Self::Namespace,
            "pod" => Self::Pod,
            "node" => Self::Node,
            "account" => Self::Account,
            "cluster" => Self::Cluster,
            _ => match text.strip_prefix("tag:") {
                Some(key) if !key.is_empty() => Self::Tag(key.to_owned()),
                _ => return Err(BadBy(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day => f.write_str("day"),
            Self::Namespace => f.write_str("namespace"),
            Self::Pod => f.write_str("pod"),
            Self::Node => f.write_str("node"),
            Self::Account => f.write_str("account"),
            Self::Cluster => f.write_str("cluster"),
            Self::Tag(key) => write!(f, "tag:{key}"),
        }
    }
}

/// What a cost is added up under. Parts that the report does not add up by are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Group {
    /// The account's id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The name by which it is added up.
    pub name: String,
}

/// The name of what a cluster costs beside its namespaces.
pub const OVERHEAD: &str = "(cluster: idle and overhead)";
/// The name of rows whose document is gone.
pub const UNKNOWN: &str = "(no document)";

impl By {
    /// What a row is added up under.
    #[must_use]
    pub fn group(&self, row: &Row) -> Group {
        let in_cluster = |name: String| Group {
            account: row.account.to_string(),
            cluster: row.cluster.clone().unwrap_or_default(),
            name,
        };
        match self {
            Self::Day => Group { name: row.day.to_string(), ..Group::default() },
            Self::Account => Group { name: row.account.to_string(), ..Group::default() },
            Self::Cluster => Group {
                account: row.account.to_string(),
                cluster: String::new(),
                name: row.cluster.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            },
            Self::Namespace => in_cluster(namespace(row)),
            Self::Pod => in_cluster(match (&row.pod, &row.namespace) {
                (Some(pod), Some(namespace)) => format!("{namespace}/{pod}"),
                (Some(pod), None) => pod.clone(),
                (None, Some(namespace)) => format!("{namespace}/(not by pod)"),
                (None, None) => namespace(row),
            }),
            Self::Node => {
                in_cluster(row.node.clone().unwrap_or_else(|| "(no node stored)".to_owned()))
            }
            Self::Tag(key) => Group {
                name: row.tags.get(key).cloned().unwrap_or_else(|| format!("(no tag {key})")),
                ..Group::default()
            },
        }
    }
}

/// The namespace of a row, or what stands for it.
#[must_use]
pub fn namespace(row: &Row) -> String {
    match &row.namespace {
        Some(namespace) => namespace.clone(),
        None if row.is_known => OVERHEAD.to_owned(),
        None => UNKNOWN.to_owned(),
    }
}

/// Names for people, one for each group: no longer than it takes to keep them apart.
#[must_use]
pub fn labels(groups: &[&Group]) -> Vec<String> {
    let short = |group: &Group| group.name.clone();
    let middle = |group: &Group| joined(&[&group.cluster, &group.name]);
    let long = |group: &Group| joined(&[&group.account, &group.cluster, &group.name]);
    let forms: [&dyn Fn(&Group) -> String; 3] = [&short, &middle, &long];
    for form in forms {
        let names: Vec<String> = groups.iter().map(|group| form(group)).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        if distinct.len() == names.len() {
            return names;
        }
    }
    groups.iter().map(|group| long(group)).collect()
}

fn joined(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::row;
    use super::*;

    #[test]
    fn each_word_names_what_to_add_up_by_and_others_are_refused() {
        for text in ["day", "namespace", "pod", "node", "account", "cluster", "tag:team"] {
            assert_eq!(text.parse::<By>().map(|by| by.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "tag:", "Day", "team"] {
            assert_eq!(text.parse::<By>(), Err(BadBy(text.to_owned())));
        }
    }

    #[test]
    fn a_row_goes_under_its_name_or_under_what_stands_for_it() {
        let name = |by: &str, row: &Row| by.parse::<By>().unwrap().group(row).name;
        let mut pod = row("2026-11-20", "shop", 1.0);
        pod.pod = Some("web-0".into());
        pod.node = Some("n1".into());
        pod.tags.insert("team".into(), "blue".into());
        let names = ["day", "namespace", "pod", "node", "account", "cluster", "tag:team"]
            .map(|by| name(by, &pod));
        assert_eq!(names, ["2026-11-20", "shop", "shop/web-0", "n1", "a", "c", "blue"]);
        let remainder = row("2026-11-20", "shop", 1.0);
        assert_eq!(name("pod", &remainder), "shop/(not by pod)");
        assert_eq!(name("tag:team", &remainder), "(no tag team)");
        let mut cluster = row("2026-11-20", "", 1.0);
        cluster.namespace = None;
        assert_eq!(name("namespace", &cluster), OVERHEAD);
        cluster.is_known = false;
        assert_eq!(name("namespace", &cluster), UNKNOWN);
    }

    #[test]
    fn labels_are_as_long_as_it_takes_to_tell_groups_apart() {
        let group = |account: &str, cluster: &str, name: &str| Group {
            account: account.into(),
            cluster: cluster.into(),
            name: name.into(),
        };
        let of = |groups: &[Group]| labels(&groups.iter().collect::<Vec<_>>());
        assert_eq!(of(&[group("a", "c", "x"), group("a", "c", "y")]), ["x", "y"]);
        assert_eq!(of(&[group("a", "c", "x"), group("a", "d", "x")]), ["c/x", "d/x"]);
        assert_eq!(of(&[group("a", "c", "x"), group("b", "c", "x")]), ["a/c/x", "b/c/x"]);
    }
}
