//! Canonical S-expressions, as gpg-agent takes and gives keys, ciphertexts and signatures: `(3:rsa(1:n3:abc))`.

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sexp<'a> {
    Atom(&'a [u8]),
    List(Vec<Sexp<'a>>),
}

impl<'a> Sexp<'a> {
    /// `None`: no expression. What comes after it, such as the zero byte that gpg-agent adds, is passed over.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        read(&mut { text }, DEPTH)
    }

    /// The value in `(name value)`, at any depth: names are not used twice in what is read here.
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        let Sexp::List(items) = self else { return None };
        match items.as_slice() {
            [Sexp::Atom(first), Sexp::Atom(value)] if *first == name.as_bytes() => Some(value),
            items => items.iter().find_map(|item| item.value(name)),
        }
    }
}

fn read<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Sexp<'a>> {
    match rest.first()? {
        b'(' if depth > 0 => {
            *rest = &rest[1..];
            let mut items = Vec::new();
            while *rest.first()? != b')' {
                items.push(read(rest, depth - 1)?);
            }
            *rest = &rest[1..];
            Some(Sexp::List(items))
        }
        b'0'..=b'9' => {
            let colon = rest.iter().take(7).position(|byte| *byte == b':')?;
            let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
            let atom = rest.get(colon + 1..)?.get(..length)?;
            *rest = &rest[colon + 1 + length..];
            Some(Sexp::Atom(atom))
        }
        _ => None,
    }
}

/// Writes `(enc-val (algorithm (name value) …))`.
pub fn ciphertext(algorithm: &str, values: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = b"(7:enc-val(".to_vec();
    atom(&mut text, algorithm.as_bytes());
    for (name, value) in values {
        text.push(b'(');
        atom(&mut text, name.as_bytes());
        atom(&mut text, value);
        text.push(b')');
    }
    text.extend(b"))");
    text
}

fn atom(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend(format!("{}:", bytes.len()).bytes());
    text.extend(bytes);
}

/// Deeper than anything gpg-agent says.
const DEPTH: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_by_name() {
        let key = b"(10:public-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q3:a)b)))\0";
        let key = Sexp::read(key).unwrap();
        assert_eq!(
            (key.value("q"), key.value("curve"), key.value("n")),
            (Some(&b"a)b"[..]), Some(&b"Ed25519"[..]), None)
        );
        assert_eq!(Sexp::read(b"(5:value2:xy)\0").unwrap().value("value"), Some(&b"xy"[..]));
        assert_eq!(ciphertext("rsa", &[("a", b"12")]), b"(7:enc-val(3:rsa(1:a2:12)))");
    }

    #[test]
    fn what_is_cut_or_lies_is_nothing() {
        for text in ["", "(", "(1:a", "5:ab", ")", "(99999999:a)", "(-1:a)", "x", "((((((((((1:a))))))))))"] {
            assert_eq!(Sexp::read(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(text in "[()0-9:a-c]{0,60}") {
            let _ = Sexp::read(text.as_bytes()).map(|sexp| sexp.value("a").map(<[u8]>::len));
        }
    }
}
