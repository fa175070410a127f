//! `CLUSTER_LABEL`: which label of a series names its cluster.

/// The label that Prometheus' external labels and our exporter use.
pub const CLUSTER: &str = "cluster";
/// The label that Kubecost and OpenCost set by themselves.
pub const CLUSTER_ID: &str = "cluster_id";

/// The label that names a series' cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterLabel {
    /// This one.
    Named(String),
    /// `cluster`, and `cluster_id` where `cluster` is absent.
    Auto,
}

impl Default for ClusterLabel {
    fn default() -> Self {
        Self::Named(CLUSTER.to_owned())
    }
}

impl ClusterLabel {
    /// Parses the setting: `auto` or a label's name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty()
            || text.starts_with(|c: char| c.is_ascii_digit())
            || text.starts_with("__")
            || !text.chars().all(fits)
        {
            return Err(format!("'{text}' is no label name; use cluster, cluster_id or auto"));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_or_auto() {
        assert_eq!(ClusterLabel::parse("auto"), Ok(ClusterLabel::Auto));
        assert_eq!(
            ClusterLabel::parse("k8s_cluster"),
            Ok(ClusterLabel::Named("k8s_cluster".into()))
        );
        for wrong in ["", "9a", "a-b", "__name__", "a\"b"] {
            assert!(ClusterLabel::parse(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
