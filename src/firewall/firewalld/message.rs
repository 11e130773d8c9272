//! Messages of D-Bus, as far as one needs them to call a method with texts and read a text (D-Bus Specification, "Message
//! Format"). Pure.

/// A call with one text, or with a text and a list of texts.
pub struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub words: Option<(&'a str, &'a [String])>,
}

impl Call<'_> {
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        if let Some((word, words)) = self.words {
            body.text(word);
            body.length_of(4, |body| words.iter().for_each(|word| body.text(word)));
        }
        let mut message = Writer(vec![b'l', CALL, NO_AUTO_START, VERSION]);
        message.number(body.0.len() as u32); // no command line is longer than 2 MiB
        message.number(serial);
        message.length_of(8, |fields| {
            fields.field(PATH, "o", self.path);
            fields.field(INTERFACE, "s", self.interface);
            fields.field(MEMBER, "s", self.member);
            fields.field(DESTINATION, "s", self.destination);
            if self.words.is_some() {
                fields.field(SIGNATURE, "g", "sas");
            }
        });
        message.align(8);
        message.0.extend(body.0);
        message.0
    }
}

/// What came back for the call of this number: a text, which may be empty, or the name of an error and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub to: u32,
    pub said: Result<String, (String, String)>,
}

/// What stands before the part whose length it tells.
pub const HEAD: usize = 16;

/// How many bytes follow this head. `None`: it is none.
pub fn rest(head: &[u8; HEAD]) -> Option<usize> {
    let mut reader = Reader::new(head)?;
    let body = reader.number_at(4)? as usize;
    let fields = reader.number_at(12)? as usize;
    fields.checked_next_multiple_of(8)?.checked_add(body)
}

/// Reads a whole message. `Ok(None)`: one that answers no call, as a signal.
pub fn reply(message: &[u8]) -> Result<Option<Reply>, Unreadable> {
    read(message).ok_or(Unreadable)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no message of D-Bus")]
pub struct Unreadable;

fn read(message: &[u8]) -> Option<Option<Reply>> {
    let mut reader = Reader::new(message)?;
    let kind = *message.get(1)?;
    let end = HEAD.checked_add(reader.number_at(12)? as usize)?;
    reader.at = HEAD;
    let (mut to, mut name, mut signature) = (None, String::new(), String::new());
    while reader.at < end {
        match reader.field()? {
            (REPLY_TO, Field::Number(number)) => to = Some(number),
            (ERROR_NAME, Field::Text(text)) => name = text,
            (SIGNATURE, Field::Text(text)) => signature = text,
            _ => {}
        }
    }
    reader.align(8);
    let text = if signature.starts_with('s') { reader.text()? } else { String::new() };
    let said = match kind {
        RETURN => Ok(text),
        ERROR => Err((name, text)),
        _ => return Some(None),
    };
    Some(Some(Reply { to: to?, said }))
}

/// Little-endian, which every receiver understands.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8); // ours are short
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    fn field(&mut self, code: u8, signature: &str, value: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(value),
            _ => self.text(value),
        }
    }

    /// An array: its length does not count what aligns its first element.
    fn length_of(&mut self, align: usize, write: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len();
        self.align(align);
        let first = self.0.len();
        write(self);
        let length = (self.0.len() - first) as u32;
        self.0[place - 4..place].copy_from_slice(&length.to_le_bytes());
    }
}

/// In the order of bytes that the sender prefers.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    little: bool,
}

enum Field {
    Number(u32),
    Text(String),
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let little = match bytes.first()? {
            b'l' => true,
            b'B' => false,
            _ => return None,
        };
        (*bytes.get(3)? == VERSION).then_some(Self { bytes, at: 0, little })
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn number_at(&mut self, at: usize) -> Option<u32> {
        self.at = at;
        self.number()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.words(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.take(1)?[0];
        self.words(length.into())
    }

    /// And the zero behind them.
    fn words(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        (self.take(1)? == [0]).then_some(text)
    }

    fn field(&mut self) -> Option<(u8, Field)> {
        self.align(8);
        let code = self.take(1)?[0];
        let value = match &*self.signature()? {
            "s" | "o" => Field::Text(self.text()?),
            "g" => Field::Text(self.signature()?),
            "u" => Field::Number(self.number()?),
            _ => return None,
        };
        Some((code, value))
    }
}

const VERSION: u8 = 1;
const CALL: u8 = 1;
/// Who was stopped on purpose stays so.
const NO_AUTO_START: u8 = 2;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_TO: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What dbus-send sends for this, but for its flags, and what a bus without a firewalld answers.
    const SENT: &str = "6c0102012000000002000000a100000001016f001d0000002f6f72672f6665646f726170726f6a6563742f4669726577616c6c443100\
        000002017300230000006f72672e6665646f726170726f6a6563742e4669726577616c6c44312e6469726563740000000000030173000b00000070617373\
        7468726f7567680000000000060173001c0000006f72672e6665646f726170726f6a6563742e4669726577616c6c44310000000008016700037361730000\
        00000000000004000000697076340000000010000000020000002d7400000300000061206200";
    const ANSWERED: &str = "6c03010151000000030000007500000006017300040000003a312e300000000004017300290000006f72672e667265656465736b\
        746f702e444275732e4572726f722e53657276696365556e6b6e6f776e000000000000000501750002000000080167000173000007017300140000006f72\
        672e667265656465736b746f702e44427573000000004c000000546865206e616d65206f72672e6665646f726170726f6a6563742e4669726577616c6c44\
        3120776173206e6f742070726f766964656420627920616e79202e736572766963652066696c657300";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn a_call_is_written_as_others_write_it() {
        let words = ["-t".to_owned(), "a b".to_owned()];
        let call = Call {
            destination: "org.fedoraproject.FirewallD1",
            path: "/org/fedoraproject/FirewallD1",
            interface: "org.fedoraproject.FirewallD1.direct",
            member: "passthrough",
            words: Some(("ipv4", &words)),
        };
        assert_eq!(call.encode(2), bytes(SENT));
    }

    #[test]
    fn an_answer_is_read() {
        let message = bytes(ANSWERED);
        let (head, rest_of_it) = message.split_first_chunk::<HEAD>().unwrap();
        assert_eq!(rest(head), Some(rest_of_it.len()));
        let Reply { to, said: Err((name, text)) } = reply(&message).unwrap().unwrap() else { panic!() };
        assert_eq!((to, &*name), (2, "org.freedesktop.DBus.Error.ServiceUnknown"));
        assert!(text.starts_with("The name org.fedoraproject.FirewallD1 was not provided"), "{text}");
        // A signal answers nobody.
        let signal = [&message[..1], &[4], &message[2..]].concat();
        assert_eq!(reply(&signal), Ok(None));
        for length in 0..message.len() {
            assert_eq!(reply(&message[..length]), Err(Unreadable), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), little: bool) {
            let _ = reply(&bytes);
            if bytes.len() >= HEAD {
                bytes[0] = if little { b'l' } else { b'B' };
                bytes[1] = RETURN;
                bytes[3] = VERSION;
                bytes[12..HEAD].copy_from_slice(&40_u32.to_le_bytes());
            }
            let _ = reply(&bytes);
        }
    }
}
