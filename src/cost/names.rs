//! Which texts may be names of clusters, namespaces, pods, nodes and services: customers write them.

/// Longest name of a cluster, namespace, pod, node or service, bytes: Kubernetes' bound on names of
/// objects (RFC 1123 subdomains).
pub const NAME_BYTES_MAX: usize = 253;

/// Whether a text cannot be a name: it is too long, or has characters that are no part of any name
/// and change how it is shown. Ids are made of names joined by a control character, so one in a
/// name might give two resources one id.
#[must_use]
pub fn is_no_name(text: &str) -> bool {
    text.len() > NAME_BYTES_MAX || text.chars().any(|c| c.is_control() || is_format(c))
}

/// Characters without a shape of their own, of Unicode's category Cf and the line separators: they
/// turn or hide what stands beside them.
#[must_use]
pub fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_deceive_or_never_end_are_none() {
        for bad in ["a\u{1b}[2J", "a\r", "\u{202e}gpj", "a\u{200b}b", "\u{feff}a", "\u{2028}"] {
            assert!(is_no_name(bad), "{bad:?}");
        }
        assert!(is_no_name(&"x".repeat(254)) && !is_no_name(&"x".repeat(253)));
        for good in ["shop", "Größe", "arn:aws:eks:eu-west-1:1:cluster/a", "名前", "a b"] {
            assert!(!is_no_name(good), "{good:?}");
        }
    }
}
