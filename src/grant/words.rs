//! A command as it comes, cut into words as a shell would, and nothing else that a shell would do: no variables, no patterns,
//! no redirections. What is not a blank or a quote stands for itself.

/// Cuts at blanks. `'…'` is taken as it is; in `"…"` a `\` keeps `"` and `\` from their meaning, outside any character.
pub fn split(command: &[u8]) -> Result<Vec<Vec<u8>>, Unsplit> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => words.extend(word.take()),
            b'\'' => quoted(&mut bytes, byte, word.get_or_insert_default())?,
            b'"' => quoted(&mut bytes, byte, word.get_or_insert_default())?,
            b'\\' => word.get_or_insert_default().push(bytes.next().ok_or(Unsplit::LoneBackslash)?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if words.first().is_none_or(Vec::is_empty) { Err(Unsplit::Nothing) } else { Ok(words) }
}

/// Up to the closing quote.
fn quoted(bytes: &mut impl Iterator<Item = u8>, quote: u8, word: &mut Vec<u8>) -> Result<(), Unsplit> {
    while let Some(byte) = bytes.next() {
        match byte {
            _ if byte == quote => return Ok(()),
            b'\\' if quote == b'"' => match bytes.next() {
                Some(kept @ (b'"' | b'\\')) => word.push(kept),
                Some(other) => word.extend([b'\\', other]),
                None => return Err(Unsplit::OpenQuote),
            },
            other => word.push(other),
        }
    }
    Err(Unsplit::OpenQuote)
}

/// Why a command is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsplit {
    #[error("it has no word")]
    Nothing,
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("a backslash stands at its end")]
    LoneBackslash,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Result<Vec<String>, Unsplit> {
        let words = split(command.as_bytes())?;
        Ok(words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect())
    }

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        for (command, expected) in [
            ("/usr/bin/id", &["/usr/bin/id"][..]),
            ("  a\tb\nc  ", &["a", "b", "c"]),
            (
                r#"/bin/sh -c 'echo "a:b,c" | tr a-z A-Z; exit 0'"#,
                &["/bin/sh", "-c", r#"echo "a:b,c" | tr a-z A-Z; exit 0"#],
            ),
            (r#"a "b c" 'd e'f"g h""#, &["a", "b c", "d efg h"]),
            (r#"a "" ''"#, &["a", "", ""]),
            (r#"a "\"x\" \\ \n $HOME `id`""#, &["a", r#""x" \ \n $HOME `id`"#]),
            (r"a\ b \'c \\ '\'", &["a b", "'c", "\\", "\\"]),
            ("a $HOME *.txt >f;id|id&", &["a", "$HOME", "*.txt", ">f;id|id&"]),
        ] {
            assert_eq!(
                words(command).as_deref(),
                Ok(expected.iter().map(|w| w.to_string()).collect::<Vec<_>>().as_slice()),
                "{command}"
            );
        }
        assert_eq!(split(b"caf\xe9 \xff"), Ok(vec![b"caf\xe9".to_vec(), b"\xff".to_vec()]));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (command, why) in [
            ("", Unsplit::Nothing),
            (" \t", Unsplit::Nothing),
            ("'' a", Unsplit::Nothing),
            ("a 'b", Unsplit::OpenQuote),
            ("a \"b\\", Unsplit::OpenQuote),
            ("a \"b\\\"", Unsplit::OpenQuote),
            ("a\\", Unsplit::LoneBackslash),
        ] {
            assert_eq!(words(command), Err(why), "{command:?}");
        }
    }
}
