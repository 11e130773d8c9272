//! Canonical S-expressions, as far as gpg-agent needs them: `(7:sig-val(3:rsa(1:s2:..)))`.

/// An atom, or a list of more of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sexp<'a> {
    Atom(&'a [u8]),
    List(Vec<Sexp<'a>>),
}

impl<'a> Sexp<'a> {
    /// Reads one expression, and nothing after it but the NUL octet that older agents add.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let (sexp, rest) = Self::list(text, DEPTH_MAX)?;
        rest.iter().all(|byte| *byte == 0).then_some(sexp)
    }

    /// The list among the elements of this one that begins with `name`.
    pub fn list_named(&self, name: &str) -> Option<&Sexp<'a>> {
        let Sexp::List(elements) = self else { return None };
        elements.iter().find(|element| element.name() == Some(name.as_bytes()))
    }

    /// What stands after the name in the list called `name`: `(1:s2:..)`.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        match self.list_named(name)? {
            Sexp::List(elements) => match elements[..] {
                [_, Sexp::Atom(value)] => Some(value),
                _ => None,
            },
            Sexp::Atom(_) => None,
        }
    }

    /// The first element of a list.
    pub fn name(&self) -> Option<&'a [u8]> {
        match self {
            Sexp::List(elements) => match elements.first() {
                Some(Sexp::Atom(name)) => Some(name),
                _ => None,
            },
            Sexp::Atom(_) => None,
        }
    }

    fn list(text: &'a [u8], depth: usize) -> Option<(Self, &'a [u8])> {
        let mut rest = text.strip_prefix(b"(").filter(|_| depth > 0)?;
        let mut elements = Vec::new();
        loop {
            if let Some(after) = rest.strip_prefix(b")") {
                return Some((Sexp::List(elements), after));
            }
            let (element, after) =
                if rest.starts_with(b"(") { Self::list(rest, depth - 1)? } else { Self::atom(rest)? };
            elements.push(element);
            rest = after;
        }
    }

    fn atom(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let colon = text.iter().take(LENGTH_DIGITS + 1).position(|byte| *byte == b':')?;
        let digits = &text[..colon];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (atom, rest) = text[colon + 1..].split_at_checked(length)?;
        Some((Sexp::Atom(atom), rest))
    }
}

/// Writes `(7:enc-val(<algorithm>(<name><value>)…))`.
pub(super) fn encrypted(algorithm: &str, values: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut text = b"(7:enc-val(".to_vec();
    atom(algorithm.as_bytes(), &mut text);
    for (name, value) in values {
        text.push(b'(');
        atom(name.as_bytes(), &mut text);
        atom(value, &mut text);
        text.push(b')');
    }
    text.extend_from_slice(b"))");
    text
}

fn atom(octets: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(octets.len().to_string().as_bytes());
    text.push(b':');
    text.extend_from_slice(octets);
}

const DEPTH_MAX: usize = 6;
const LENGTH_DIGITS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_read() {
        let sexp = Sexp::read(b"(7:sig-val(5:eddsa(1:r2:())(1:s1:x)))\0").unwrap();
        let inner = sexp.list_named("eddsa").unwrap();
        assert_eq!(
            (sexp.name(), inner.value("r"), inner.value("s")),
            (Some(&b"sig-val"[..]), Some(&b"()"[..]), Some(&b"x"[..]))
        );
        assert_eq!(inner.value("q"), None);
        assert_eq!(sexp.value("eddsa"), None);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bad in [
            &b""[..],
            b"3:abc",
            b"(",
            b"(3:ab)",
            b"(3abc)",
            b"(:)",
            b"(-1:a)",
            b"(+1:a)",
            b"(1:a))",
            b"(1:a)x",
            b"(99999999999999999999:a)",
            b"(100000:a)",
            b"(((((((1:a)))))))",
            b"(a b)",
        ] {
            assert_eq!(Sexp::read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn what_is_written_is_as_the_agent_wants_it() {
        let text = encrypted("ecdh", &[("s", vec![1, 2]), ("e", b"@x".to_vec())]);
        assert_eq!(text, b"(7:enc-val(4:ecdh(1:s2:\x01\x02)(1:e2:@x)))");
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(name in "[a-z]{1,5}", value: Vec<u8>) {
            let text = encrypted("rsa", &[(&name, value.clone())]);
            let sexp = Sexp::read(&text).unwrap();
            prop_assert_eq!(sexp.list_named("rsa").unwrap().value(&name), Some(&value[..]));
        }

        #[test]
        fn no_text_is_too_much(text: Vec<u8>) {
            let _ = Sexp::read(&text);
            let _ = Sexp::read(&[b"(1:a(", &text[..], b"))"].concat());
        }
    }
}
