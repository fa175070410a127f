//! Tables that tests write into documents.

use super::servers::root;

/// Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->` in a document.
pub(crate) fn write_between(document: &str, name: &str, text: &str) {
    let path = root().join(document);
    let old = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = old.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    std::fs::write(path, format!("{before}{begin}{text}{end}{after}")).unwrap();
}
