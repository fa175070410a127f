//! What made a pod, by the form of its name. Pure.

/// The name of what made a pod, by the form of the pod's name: a deployment's pods end in the hash
/// of their template and five letters, a daemon set's in five letters, a stateful set's in a number.
#[must_use]
pub fn controller(pod: &str) -> String {
    const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
    let is_random = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| LETTERS.contains(c))
    };
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod.to_owned() };
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return rest.to_owned();
    }
    if !is_random(last, 5..=5) {
        return pod.to_owned();
    }
    match rest.rsplit_once('-') {
        Some((name, hash)) if is_random(hash, 6..=10) => name.to_owned(),
        _ => rest.to_owned(),
    }
}

/// The name of the deployment that made a pod, by the form of the pod's name.
#[must_use]
pub fn deployment(pod: &str) -> Option<String> {
    let name = controller(pod);
    let own = pod.len().saturating_sub(name.len());
    // The hash of a template, five letters, and two dashes.
    (own > 6 && !pod.ends_with('-')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_known_by_its_pods_names() {
        for (pod, name) in [
            ("web-5d4f8c7b9d-x2x4z", "web"),
            ("node-exporter-x2x4z", "node-exporter"),
            ("redis-2", "redis"),
            ("alone", "alone"),
            ("my-job", "my-job"),
        ] {
            assert_eq!(controller(pod), name, "{pod}");
        }
        assert_eq!(deployment("web-5d4f8c7b9d-x2x4z").as_deref(), Some("web"));
        for other in ["node-exporter-x2x4z", "redis-2", "alone"] {
            assert_eq!(deployment(other), None, "{other}");
        }
    }
}
