//! The modules of the library and of its programs, and the paths that their files use.
//!
//! Files are read as Rust tokens: what is named in `use` and by paths in code and in macros, without
//! comments, texts, attributes and what is under `#[cfg(test)]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::tokens::{Token, tokens};

/// A path: its segments.
pub(super) type Segments = Vec<String>;

/// A name that is brought in by `use`.
pub(super) struct Import {
    /// The module that it is brought into.
    pub(super) module: Segments,
    /// The path as it is written; the last segment is `*` for all names of a module.
    pub(super) path: Segments,
    /// What it is called here.
    pub(super) name: String,
    /// Whether others can use it from here: `pub use`.
    pub(super) is_public: bool,
}

/// What one file names.
#[derive(Default)]
pub(super) struct Source {
    /// Files of modules that it declares, by the module.
    children: Vec<Segments>,
    /// What it imports.
    pub(super) imports: Vec<Import>,
    /// Paths that are written in code, and the module that they are in.
    pub(super) paths: Vec<(Segments, Segments)>,
    /// All identifiers of the code, without those in `use`.
    pub(super) names: BTreeSet<String>,
}

/// All files, by their path below `src`.
#[derive(Default)]
pub(super) struct Code {
    pub(super) files: BTreeMap<String, Source>,
    /// The file of each module; those of a program begin with the program's file.
    modules: BTreeMap<Segments, String>,
}

fn as_text(path: &Path) -> String {
    path.to_str().unwrap().replace('\\', "/")
}

impl Code {
    /// Reads the library at `lib.rs` and the programs in `bin`, below `root`.
    pub(super) fn read(root: &Path) -> Self {
        let mut code = Self::default();
        code.read_file(root, PathBuf::from("lib.rs"), vec!["crate".to_owned()]);
        let mut programs: Vec<PathBuf> =
            std::fs::read_dir(root.join("bin")).unwrap().map(|e| e.unwrap().path()).collect();
        programs.sort();
        for program in programs {
            let relative = program.strip_prefix(root).unwrap().to_path_buf();
            let name = as_text(&relative);
            code.read_file(root, relative, vec![name]);
        }
        code
    }

    fn read_file(&mut self, root: &Path, file: PathBuf, module: Segments) {
        let text = std::fs::read_to_string(root.join(&file)).unwrap();
        let mut source = Source::default();
        source.scan(&tokens(&text), &module);
        let children = std::mem::take(&mut source.children);
        let name = as_text(&file);
        self.modules.insert(module.clone(), name.clone());
        self.files.insert(name, source);
        // `mod.rs`, `lib.rs` and programs have their modules beside them, others in a directory.
        let is_root = module.len() == 1 || file.ends_with("mod.rs");
        let directory =
            if is_root { file.parent().unwrap().to_path_buf() } else { file.with_extension("") };
        for child in children {
            let below: PathBuf = child[module.len()..].iter().collect();
            let flat = directory.join(&below).with_extension("rs");
            let nested = directory.join(&below).join("mod.rs");
            let found = if root.join(&flat).exists() { flat } else { nested };
            self.read_file(root, found, child);
        }
    }

    /// The file in which what a path names is defined; `None` for other crates and local names.
    pub(super) fn defining_file(&self, module: &[String], path: &[String]) -> Option<&str> {
        self.resolve(&self.absolute(module, path)?, 0)
    }

    /// A path from the crate's root, if it names something of this crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Segments> {
        let mut base = module.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" | "kubecost_worker" => {
                base = vec!["crate".to_owned()];
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            // A module that this one declares.
            first => {
                base.push(first.to_owned());
                self.modules.contains_key(&base).then_some(())?;
                rest = &path[1..];
            }
        }
        base.extend(rest.iter().cloned());
        Some(base)
    }

    /// Follows names that a module passes on (`pub use`) to where they are defined.
    fn resolve(&self, path: &[String], depth: usize) -> Option<&str> {
        let length = (1..=path.len()).rev().find(|n| self.modules.contains_key(&path[..*n]))?;
        let (module, rest) = path.split_at(length);
        let file = &self.modules[module];
        let Some(name) = rest.first().filter(|_| depth < 8) else { return Some(file) };
        let passed_on = self.files[file]
            .imports
            .iter()
            .filter(|import| import.is_public && import.module == module)
            .find(|import| import.name == *name);
        let origin = passed_on.and_then(|import| self.absolute(module, &import.path));
        origin.and_then(|origin| self.resolve(&origin, depth + 1)).or(Some(file))
    }
}

impl Source {
    fn scan(&mut self, tokens: &[Token], module: &[String]) {
        let mut at = 0;
        let mut is_public = false;
        while at < tokens.len() {
            match &tokens[at] {
                Token::Sign('#') => {
                    let (next, is_test) = attribute(tokens, at);
                    at = if is_test { end_of_item(tokens, next) } else { next };
                    continue;
                }
                Token::Name(name) if name == "use" => {
                    let end = end_of_item(tokens, at);
                    self.read_use(&tokens[at + 1..end - 1], &mut Vec::new(), (module, is_public));
                    at = end;
                    is_public = false;
                    continue;
                }
                Token::Name(name) if name == "mod" => {
                    at = self.read_module(tokens, at, module);
                    continue;
                }
                // `pub(crate)` and the like pass names on within the crate.
                Token::Name(name) if name == "pub" => {
                    let is_restricted = matches!(tokens.get(at + 1), Some(Token::Group('(', _)));
                    at += 1 + usize::from(is_restricted);
                    is_public = true;
                    continue;
                }
                Token::Name(_) => at = self.read_path(tokens, at, module),
                Token::Group(_, group) => {
                    self.scan(group, module);
                    at += 1;
                }
                _ => at += 1,
            }
            is_public = false;
        }
    }

    /// `mod name;` or `mod name { .. }` at `at`; returns what follows.
    fn read_module(&mut self, tokens: &[Token], at: usize, module: &[String]) -> usize {
        let Some(Token::Name(name)) = tokens.get(at + 1) else { return at + 1 };
        let child: Segments = module.iter().cloned().chain([name.clone()]).collect();
        match tokens.get(at + 2) {
            Some(Token::Group(_, group)) => self.scan(group, &child),
            _ => self.children.push(child),
        }
        at + 3
    }

    /// A path at `at`; returns what follows.
    fn read_path(&mut self, tokens: &[Token], mut at: usize, module: &[String]) -> usize {
        let mut path = Vec::new();
        while let Some(Token::Name(name)) = tokens.get(at) {
            path.push(name.clone());
            at += 1;
            if !is_separator(tokens, at) {
                break;
            }
            at += 2;
        }
        self.names.extend(path.iter().cloned());
        self.paths.push((module.to_vec(), path));
        at
    }

    fn read_use(
        &mut self,
        tokens: &[Token],
        before: &mut Segments,
        (module, is_public): (&[String], bool),
    ) {
        for tree in tokens.split(|token| *token == Token::Sign(',')) {
            let length = before.len();
            let mut name = None;
            let mut at = 0;
            while at < tree.len() {
                match &tree[at] {
                    Token::Name(word) if word == "as" => {
                        if let Some(Token::Name(alias)) = tree.get(at + 1) {
                            name = Some(alias.clone());
                        }
                        at += 2;
                    }
                    Token::Name(segment) => {
                        before.push(segment.clone());
                        at += 1;
                    }
                    Token::Sign('*') => {
                        before.push("*".to_owned());
                        at += 1;
                    }
                    Token::Group('{', group) => {
                        self.read_use(group, before, (module, is_public));
                        before.truncate(length);
                        at += 1;
                    }
                    _ => at += 1,
                }
            }
            if before.len() > length {
                // `{self, ..}` names the module before the brace.
                let path: Segments = match before.last() {
                    Some(last) if last == "self" && before.len() > 1 => {
                        before[..before.len() - 1].to_vec()
                    }
                    _ => before.clone(),
                };
                let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
                self.imports.push(Import { module: module.to_vec(), path, name, is_public });
            }
            before.truncate(length);
        }
    }
}

fn is_sign(token: Option<&Token>, sign: char) -> bool {
    token == Some(&Token::Sign(sign))
}

/// Whether `::` and a name stand at `at`.
fn is_separator(tokens: &[Token], at: usize) -> bool {
    is_sign(tokens.get(at), ':')
        && is_sign(tokens.get(at + 1), ':')
        && matches!(tokens.get(at + 2), Some(Token::Name(_)))
}

/// What follows the attribute at `at`, and whether it leaves its item to tests.
fn attribute(tokens: &[Token], at: usize) -> (usize, bool) {
    let is_inner = is_sign(tokens.get(at + 1), '!');
    let group = at + 1 + usize::from(is_inner);
    let test = Token::Group('(', vec![Token::Name("test".to_owned())]);
    let for_tests = Token::Group('[', vec![Token::Name("cfg".to_owned()), test]);
    (group + 1, !is_inner && tokens.get(group) == Some(&for_tests))
}

/// What follows the item at `at`: after its `;`, or its body.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let use_word = Token::Name("use".to_owned());
    let mut needs_semicolon = false;
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        needs_semicolon |= *token == use_word;
        let is_body = matches!(token, Token::Group('{', _));
        if *token == Token::Sign(';') || (is_body && !needs_semicolon) {
            break;
        }
    }
    at
}
