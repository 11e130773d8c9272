//! The line protocol of gpg-agent (Assuan): commands go out as lines, answers come back as `D`, `S`, `INQUIRE`, and at the
//! end `OK` or `ERR`. Bounded: a peer that is not an agent can neither fill memory nor keep us reading.

use std::io::{self, BufRead, BufReader, Read, Write};

use zeroize::Zeroizing;

use super::AgentError;

/// One conversation.
pub struct Connection<S: Read + Write> {
    stream: BufReader<S>,
}

/// What an agent said to a command.
#[derive(Default)]
pub struct Answer {
    /// May be a session key.
    pub data: Zeroizing<Vec<u8>>,
    /// The `S` lines.
    pub status: Vec<String>,
}

/// What is given when the agent asks for something. `None` refuses.
pub type Inquiry<'a> = dyn FnMut(&str) -> Option<Zeroizing<Vec<u8>>> + 'a;

impl<S: Read + Write> Connection<S> {
    /// Waits for the greeting.
    pub fn open(stream: S) -> Result<Self, AgentError> {
        let mut connection = Self { stream: BufReader::with_capacity(LINE_MAX, stream) };
        connection.answer(&mut |_| None)?;
        Ok(connection)
    }

    pub fn ask(&mut self, command: &str) -> Result<Answer, AgentError> {
        self.ask_with(command, &mut |_| None)
    }

    pub fn ask_with(&mut self, command: &str, inquiry: &mut Inquiry<'_>) -> Result<Answer, AgentError> {
        if command.len() > LINE_MAX - 2 || command.contains(['\n', '\r']) {
            return Err(AgentError::Protocol("a command is too long"));
        }
        self.send(&[command.as_bytes(), b"\n"].concat())?;
        self.answer(inquiry)
    }

    fn answer(&mut self, inquiry: &mut Inquiry<'_>) -> Result<Answer, AgentError> {
        // Never grown, so no copy of a secret stays behind in freed memory.
        let mut answer = Answer { data: Zeroizing::new(Vec::with_capacity(DATA_MAX)), status: Vec::new() };
        for _ in 0..LINES_MAX {
            let line = self.line()?;
            match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
                b"OK" => return Ok(answer),
                b"ERR" => return Err(refusal(&line)),
                b"D" => unescape(line.get(2..).unwrap_or_default(), &mut answer.data)?,
                b"S" => answer.status.push(String::from_utf8_lossy(line.get(2..).unwrap_or_default()).into_owned()),
                b"INQUIRE" => {
                    let asked = String::from_utf8_lossy(line.get(8..).unwrap_or_default()).into_owned();
                    let keyword = asked.split(' ').next().unwrap_or_default();
                    self.reply(inquiry(keyword))?;
                }
                _ if line.first() == Some(&b'#') => {}
                _ => return Err(AgentError::Protocol("it is not an agent that answers")),
            }
        }
        Err(AgentError::Protocol("the answer does not end"))
    }

    fn reply(&mut self, data: Option<Zeroizing<Vec<u8>>>) -> Result<(), AgentError> {
        let Some(data) = data else { return self.send(b"CAN\n") };
        let mut lines = Zeroizing::new(Vec::with_capacity(3 * data.len() + data.len() / CHUNK * 3 + 16));
        for part in data.chunks(CHUNK) {
            lines.extend(b"D ");
            for byte in part {
                match byte {
                    b'%' | b'\n' | b'\r' => lines.extend(format!("%{byte:02X}").bytes()),
                    plain => lines.push(*plain),
                }
            }
            lines.push(b'\n');
        }
        lines.extend(b"END\n");
        self.send(&lines)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(AgentError::of_io)
    }

    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, AgentError> {
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
        (&mut self.stream).take(LINE_MAX as u64).read_until(b'\n', &mut line).map_err(AgentError::of_io)?;
        match line.pop() {
            Some(b'\n') => Ok(line),
            None => Err(AgentError::of_io(io::ErrorKind::UnexpectedEof.into())),
            Some(_) => Err(AgentError::Protocol("a line is too long")),
        }
    }
}

/// `ERR 67108875 Bad passphrase <GPG Agent>`
fn refusal(line: &[u8]) -> AgentError {
    let text = String::from_utf8_lossy(line);
    let mut words = text.splitn(3, ' ').skip(1);
    let code = words.next().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
    let said = words.next().unwrap_or_default().split(" <").next().unwrap_or_default();
    let said = said.chars().filter(|c| !c.is_control()).take(200).collect();
    AgentError::Refused { code: gpgme::Error::new(code), said }
}

fn unescape(text: &[u8], data: &mut Vec<u8>) -> Result<(), AgentError> {
    let mut rest = text;
    while let Some((first, following)) = rest.split_first() {
        let (byte, following) = match (first, following) {
            (b'%', [high, low, following @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok();
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.ok_or(AgentError::Protocol("data cannot be read"))?, following)
            }
            (b'%', _) => return Err(AgentError::Protocol("data cannot be read")),
            (plain, following) => (*plain, following),
        };
        if data.len() >= DATA_MAX {
            return Err(AgentError::Protocol("the answer is too long"));
        }
        data.push(byte);
        rest = following;
    }
    Ok(())
}

/// Assuan's own limit, the end of the line included.
const LINE_MAX: usize = 1002;
/// Bytes in a line of ours that may each need three characters.
const CHUNK: usize = 300;
/// A signature or public key of RSA-16384 has some 4 KiB.
const DATA_MAX: usize = 16 << 10;
/// A list of some thousand keys.
const LINES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads what is prepared, and keeps what is written.
    struct Script {
        says: io::Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Script {
        fn new(says: &[u8]) -> Self {
            Self { says: io::Cursor::new(says.to_vec()), heard: Vec::new() }
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn data_status_and_inquiries() {
        let says = b"OK hello\nS PADDING 0\n# a comment\nINQUIRE CIPHERTEXT\nD a%0Ab%25\nD c\nOK\n";
        let mut connection = Connection::open(Script::new(says)).unwrap();
        let mut asked = Vec::new();
        let answer = connection.ask_with("PKDECRYPT", &mut |keyword| {
            asked.push(keyword.to_owned());
            Some(Zeroizing::new(b"x%\ny".to_vec()))
        });
        let answer = answer.unwrap();
        assert_eq!((answer.data.as_slice(), answer.status.as_slice()), (&b"a\nb%c"[..], &["PADDING 0".to_owned()][..]));
        assert_eq!(asked, ["CIPHERTEXT"]);
        assert_eq!(connection.stream.get_ref().heard, b"PKDECRYPT\nD x%25%0Ay\nEND\n");
    }

    #[test]
    fn a_refusal_has_a_code_and_words() {
        let mut connection = Connection::open(Script::new(b"OK\nERR 67108875 Bad passphrase <GPG Agent>\n")).unwrap();
        let Err(AgentError::Refused { code, said }) = connection.ask("PKSIGN") else { panic!("it was refused") };
        assert_eq!((code.code(), said.as_str()), (gpgme::Error::BAD_PASSPHRASE.code(), "Bad passphrase"));
    }

    #[test]
    fn what_is_no_agent_is_left_soon() {
        for says in [&b"SSH-2.0-OpenSSH\n"[..], b"", b"OK\nD %4", b"OK\nD %zz\nOK\n", &[b'x'; 5000]] {
            let answered = Connection::open(Script::new(says)).and_then(|mut connection| connection.ask("RESET"));
            assert!(answered.is_err(), "{says:?}");
        }
        let endless = [b"OK\n".to_vec(), b"S again\n".repeat(LINES_MAX + 1)].concat();
        assert!(Connection::open(Script::new(&endless)).unwrap().ask("RESET").is_err());
        let long = [b"OK\n".to_vec(), [b"D ".to_vec(), vec![b'x'; 900], b"\n".to_vec()].concat().repeat(30)].concat();
        assert!(Connection::open(Script::new(&long)).unwrap().ask("RESET").is_err());
    }

    #[test]
    fn no_command_can_carry_another() {
        let mut connection = Connection::open(Script::new(b"OK\nOK\n")).unwrap();
        assert!(connection.ask("RESET\nKILLAGENT").is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_harm(says in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Connection::open(Script::new(&says));
            let _ = Connection::open(Script::new(&[b"OK\n", &says[..]].concat())).map(|mut c| c.ask("RESET").is_ok());
        }
    }
}
