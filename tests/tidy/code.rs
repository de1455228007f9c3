//! Reads Rust source just well enough to tell code from comments and literals.
//!
//! Known limits: nested block comments end at the first `*/`, and a path that
//! a macro puts together is not seen.

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte positions of `word` in `text` where it is not part of a longer word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let hits = text.match_indices(word).map(|(at, _)| at);
    hits.filter(move |&at| {
        let (before, rest) = text.split_at(at);
        let after = rest.split_at(word.len()).1;
        let longer = word.ends_with(is_word) && after.starts_with(is_word);
        !(before.ends_with(is_word) || longer)
    })
}

pub(crate) fn line_at(text: &str, at: usize) -> usize {
    text.split_at(at).0.matches('\n').count() + 1
}

/// Length of the comment or literal that `rest` begins with; 0 if it is code.
fn opaque_len(rest: &str, before: Option<char>) -> usize {
    let to_end_of = |from: usize, end: &str| {
        let found = rest.split_at(from).1.find(end);
        found.map_or(rest.len(), |at| from + at + end.len())
    };
    let raw = ["r", "br", "cr"].iter().find_map(|prefix| {
        let quoted = rest.strip_prefix(prefix)?;
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        let opened = quoted.split_at(hashes).1.starts_with('"');
        opened.then(|| {
            to_end_of(
                prefix.len() + hashes + 1,
                &format!("\"{}", "#".repeat(hashes)),
            )
        })
    });
    if let (Some(len), false) = (raw, before.is_some_and(is_word)) {
        return len;
    }
    let mut chars = rest.char_indices().skip(1);
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        to_end_of(2, "*/")
    } else if rest.starts_with('"') {
        let mut escaped = false;
        let end = chars.find(|&(_, c)| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        end.map_or(rest.len(), |(at, _)| at + 1)
    } else if rest.starts_with("'\\") {
        to_end_of(3, "'")
    } else if rest.starts_with('\'') {
        // One character and a quote; anything else is a lifetime.
        chars
            .nth(1)
            .filter(|&(_, c)| c == '\'')
            .map_or(0, |(at, _)| at + 1)
    } else {
        0
    }
}

/// `text` with comments blanked and literals turned into quotes, line by line.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = opaque_len(rest, out.chars().last());
        let (head, tail) = rest.split_at(len.max(first.len_utf8()));
        let fill = if head.starts_with("//") || head.starts_with("/*") {
            ' '
        } else {
            '"'
        };
        let masked = |c| if len == 0 || c == '\n' { c } else { fill };
        out.extend(head.chars().map(masked));
        rest = tail;
    }
    out
}

/// `code` without files of tests and without items behind `#[cfg(test)]`.
pub(crate) fn production(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let mut code = code(text);
    let test_item = |code: &str| {
        code.find("#[cfg(test)]")
            .or_else(|| code.find("#[cfg(all(test"))
    };
    while let Some(start) = test_item(&code) {
        let mut depth = 0_i32;
        let (before, item) = code.split_at(start);
        let end = item.find(|c: char| {
            depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
            (c == '}' && depth <= 0) || (c == ';' && depth == 0)
        });
        let (item, after) = item.split_at(end.map_or(item.len(), |at| at + 1));
        let lines = "\n".repeat(item.matches('\n').count());
        code = format!("{before}{lines}{after}");
    }
    code
}

/// What follows `root::`, with its line; each name of `root::{a, b::c}`.
pub(crate) fn heads(code: &str, root: &str) -> Vec<(usize, String)> {
    let prefix = format!("{root}::");
    let mut found = Vec::new();
    for at in words(code, &prefix) {
        let rest = code.split_at(at + prefix.len()).1;
        let (mut depth, mut first) = (0_i32, true);
        for (n, c) in rest.char_indices() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if first && (is_word(c) || c == '*') {
                let name = rest.split_at(n).1.split(|c| !is_word(c)).next();
                found.push((
                    line_at(code, at + prefix.len() + n),
                    name.unwrap_or("").to_owned(),
                ));
                first = false;
            }
            if depth == 0 {
                break;
            }
            first |= depth == 1 && (c == ',' || c == '{');
        }
    }
    found
}

#[test]
fn comments_and_literals_are_not_code() {
    for text in [
        "// x",
        "/* x */",
        "\"\\\"x\"",
        "r#\"\"x\"#",
        "br\"\\\" ;",
        "'x'",
        "'\\'' ;",
    ] {
        assert!(!code(text).contains('x'), "{text}: {}", code(text));
    }
    assert_eq!(code("f::<'a>(&'a x) // x"), "f::<'a>(&'a x)     ");
    assert_eq!(code("(\"\\\\\", x)"), "(\"\"\"\", x)");
}

#[test]
fn test_items_are_not_production_code() {
    let text = "a;\n#[cfg(test)]\nmod tests {\n fn f() { x }\n}\nb;";
    assert_eq!(production("src/a.rs", text), "a;\n\n\n\n\nb;");
    let text = "#[cfg(test)]\nmod tests;\nb;";
    assert_eq!(production("src/a.rs", text), "\n\nb;");
}

#[test]
fn a_group_names_each_of_its_paths() {
    let found = heads("use a::{\n b::{c, d},\n e,\n}; a::f::g(); da::h", "a");
    let names: Vec<_> = found.iter().map(|(n, name)| (*n, name.as_str())).collect();
    assert_eq!(names, [(2, "b"), (3, "e"), (4, "f")]);
}
