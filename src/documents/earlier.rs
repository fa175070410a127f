//! Documents of the software that came before this program.
//!
//! The earlier worker named a namespace's document by an MD5 over the bare name, so that one id
//! stood for every cluster's namespace of that name; an importer kept a whole account's costs under
//! one document. Their rows stand beside this program's, so that each dollar is shown twice, until
//! `kubecost-worker audit --adopt` takes them back.

use md5::{Digest, Md5};

use crate::cost::resource_id::{has_own_form, hex};

use super::stored::StoredResource;

/// `cloud_resource_id` of the document that earlier importers kept an account's costs under.
pub const EARLIER_CLUSTER_ID: &str = "cluster";
/// Stable ids that documents of earlier software may have.
pub(crate) const EARLIER_FORM: &str = "^(cluster|k8s-ns-([0-9a-f]{16}|[0-9a-f]{32}))$";
const PREFIX: &str = "k8s-ns-";

/// Whether earlier software made the document with this stable id and namespace.
#[must_use]
pub fn is_earlier_id(cloud_resource_id: &str, namespace: Option<&str>) -> bool {
    if cloud_resource_id == EARLIER_CLUSTER_ID {
        return true;
    }
    let (Some(digits), Some(namespace)) = (cloud_resource_id.strip_prefix(PREFIX), namespace)
    else {
        return false;
    };
    let is_of = |text: &str| digest(text).starts_with(digits);
    matches!(digits.len(), 16 | 32)
        && (is_of(&format!("namespace-{namespace}")) || is_of(namespace))
}

/// Whether earlier software made the document.
#[must_use]
pub fn is_earlier(stored: &StoredResource) -> bool {
    let old = || stored.meta_text("namespace");
    let namespace = stored.k8s_namespace.clone().or_else(old);
    is_earlier_id(&stored.cloud_resource_id, namespace.as_deref())
}

/// Whether this program made the document, or adopted it under its own id.
#[must_use]
pub fn is_own(stored: &StoredResource) -> bool {
    has_own_form(&stored.cloud_resource_id) && !is_earlier(stored)
}

fn digest(text: &str) -> String {
    hex(&Md5::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out with another program: `printf %s namespace-default | md5sum`.
    const OF_DEFAULT: &str = "ebb8d2da44451cb536d95b09ea5cec0f";
    /// `printf %s default | md5sum`.
    const OF_BARE_DEFAULT: &str = "c21f969b5f03d33d43e04f8f136e7682";

    #[test]
    fn ids_that_earlier_software_made_are_known_by_the_namespace_behind_them() {
        for digits in [OF_DEFAULT, &OF_DEFAULT[..16], OF_BARE_DEFAULT, &OF_BARE_DEFAULT[..16]] {
            let id = format!("k8s-ns-{digits}");
            assert!(is_earlier_id(&id, Some("default")), "{id}");
            assert!(!is_earlier_id(&id, Some("shop")), "{id}");
            assert!(!is_earlier_id(&id, None), "{id}");
        }
        assert!(is_earlier_id("cluster", None));
        for id in [format!("k8s-ns-{}", &OF_DEFAULT[..8]), "k8s-ns-".into(), "clusters".into()] {
            assert!(!is_earlier_id(&id, Some("default")), "{id}");
        }
    }

    #[test]
    fn a_namespace_that_only_meta_names_counts_too() {
        let stored = StoredResource {
            cloud_resource_id: format!("k8s-ns-{}", &OF_DEFAULT[..16]),
            meta: [("namespace".to_owned(), Some("default".to_owned()))].into(),
            ..StoredResource::default()
        };
        assert!(is_earlier(&stored));
        assert!(!is_earlier(&StoredResource { meta: [].into(), ..stored }));
    }
}
