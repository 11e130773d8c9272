//! The words of a command line that was understood: which options they say, and what is left without the secrets.

use std::ops::Range;

use clap::{Arg, ArgAction};

use super::args::Args;

/// An option as it was said.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// Its long name.
    pub option: String,
    /// The words that say it. Short options may share one.
    words: Range<usize>,
}

/// The options that these words say, without the program's name in front.
pub fn options(words: &[String]) -> Vec<Said> {
    let definition = Args::definition();
    let all: Vec<&Arg> = definition.get_arguments().collect();
    let (mut said, mut at) = (Vec::new(), 0);
    while let Some(word) = words.get(at) {
        let mut end = at + 1;
        let found: Vec<&Arg> = match word.strip_prefix("--") {
            Some(long) => {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let option = by_long(&all, name);
                end += usize::from(value.is_none() && option.is_some_and(takes_value));
                option.into_iter().collect()
            }
            None => {
                let (bundle, value) = short(&all, word.strip_prefix('-').unwrap_or_default());
                end += usize::from(value == Value::NextWord);
                bundle
            }
        };
        let names = found.into_iter().filter_map(|option| option.get_long());
        said.extend(names.map(|name| Said { option: name.to_owned(), words: at..end }));
        at = end;
    }
    said
}

/// The same command line without its keys. An HMAC key turns the HMAC on, and that stays.
pub fn without_secrets(words: &[String]) -> Vec<String> {
    let mut left: Vec<Option<&str>> = words.iter().map(|word| Some(word.as_str())).collect();
    for said in options(words).iter().filter(|said| SECRETS.contains(&said.option.as_str())) {
        said.words.clone().for_each(|at| left[at] = None);
        if said.option.contains("hmac") {
            left[said.words.start] = Some("--use-hmac");
        }
    }
    left.into_iter().flatten().map(str::to_owned).collect()
}

const SECRETS: [&str; 4] = ["key-rijndael", "key-base64-rijndael", "key-hmac", "key-base64-hmac"];

fn takes_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append)
}

/// By its name, or by a beginning that means only this one: the command line was understood, so there is no doubt.
fn by_long<'a>(all: &[&'a Arg], name: &str) -> Option<&'a Arg> {
    let is_called = |option: &Arg, fits: &dyn Fn(&str) -> bool| {
        option.get_long().is_some_and(fits) || option.get_all_aliases().unwrap_or_default().into_iter().any(fits)
    };
    let exact = all.iter().find(|option| is_called(option, &|long| long == name));
    exact.or_else(|| all.iter().find(|option| is_called(option, &|long| long.starts_with(name)))).copied()
}

#[derive(PartialEq, Eq)]
enum Value {
    Nowhere,
    SameWord,
    NextWord,
}

/// `vv`, `Atcp/22`, `vA`: short options, of which the last may have a value.
fn short<'a>(all: &[&'a Arg], bundle: &str) -> (Vec<&'a Arg>, Value) {
    let mut found = Vec::new();
    for (at, letter) in bundle.char_indices() {
        let Some(option) = all.iter().find(|option| option.get_short() == Some(letter)) else { continue };
        found.push(*option);
        if takes_value(option) {
            let is_last = bundle.len() == at + letter.len_utf8();
            return (found, if is_last { Value::NextWord } else { Value::SameWord });
        }
    }
    (found, Value::Nowhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_are_found_in_every_spelling() {
        let said = |line| options(&words(line)).into_iter().map(|said| said.option).collect::<Vec<_>>().join(" ");
        assert_eq!(said("-Tvv -Atcp/22 -A tcp/22"), "test verbose verbose access access");
        assert_eq!(said("--destin h --destination=h --spoof-src a"), "destination destination spoof-source");
        assert_eq!(said("-C -A --gpg-en --key-g -v"), "server-cmd gpg-encryption key-gen verbose");
    }

    #[test]
    fn keys_are_left_out_in_every_spelling() {
        for (line, left) in [
            ("-s --key-rijndael k -v", "-s -v"),
            ("--key-rij=k -s", "-s"),
            ("-s --key-base64-r -A", "-s"),
            ("--key-hmac k -s", "--use-hmac -s"),
            ("-s --key-base64-h=k", "-s --use-hmac"),
            ("-C --key-hmac -s", "-C --key-hmac -s"),
            ("-vC --key-rijndael --key-rijndael -C", "-vC --key-rijndael"),
        ] {
            assert_eq!(without_secrets(&words(line)).join(" "), left, "{line}");
        }
    }
}
