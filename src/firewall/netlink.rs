//! Set elements and rules in the language of the kernel: nfnetlink messages of nf_tables (`linux/netfilter/nf_tables.h`), byte by
//! byte as nft writes them.
//!
//! A transaction is BATCH_BEGIN, the changes, BATCH_END in one datagram: the kernel makes all of them or none. Only the
//! last change asks for an acknowledgement; a change that fails always gets an answer, so the answers to a batch are
//! either that single acknowledgement or at least one error.

use std::net::IpAddr;
use std::time::Duration;

use super::backend::{Element, Verb};
use super::rule::{Spot, Value};
use super::settings::{Family, Name};
use crate::net::{Port, Service};

/// A transaction. The messages are numbered from `sequence`: the begin, each change, the end.
pub fn batch(changes: &[(Verb, &Element)], sequence: u32) -> Vec<u8> {
    transaction(changes, None, sequence, |bytes, (verb, element), ack, sequence| {
        element_message(bytes, *verb, element, ack, sequence);
    })
}

/// A transaction that removes rules, each told by its chain and handle. Refused (`ERESTART`) unless the ruleset still has
/// that number.
pub fn delete_rules(version: Family, table: &str, rules: &[(&str, u64)], number: u32, sequence: u32) -> Vec<u8> {
    let general = General { family: family(version), resource: 0 };
    transaction(rules, Some(number), sequence, |bytes, (chain, handle), ack, sequence| {
        let header = Header { kind: nf_tables(DELETE_RULE), flags: REQUEST | ack, sequence };
        message(bytes, header, general, |body| {
            attribute(body, RULE_TABLE, |value| text(value, table));
            attribute(body, RULE_CHAIN, |value| text(value, chain));
            attribute(body, RULE_HANDLE, |value| value.extend(handle.to_be_bytes()));
        });
    })
}

fn transaction<T>(
    changes: &[T],
    number: Option<u32>,
    mut sequence: u32,
    write: impl Fn(&mut Vec<u8>, &T, u16, u32),
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + 128 * changes.len());
    message(&mut bytes, Header { kind: BATCH_BEGIN, flags: REQUEST, sequence }, BATCH, |body| {
        if let Some(number) = number {
            attribute(body, BATCH_GENERATION, |value| value.extend(number.to_be_bytes()));
        }
    });
    for (i, change) in changes.iter().enumerate() {
        sequence = sequence.wrapping_add(1);
        let ack = if i + 1 == changes.len() { ACK } else { 0 };
        write(&mut bytes, change, ack, sequence);
    }
    let end = Header { kind: BATCH_END, flags: REQUEST, sequence: sequence.wrapping_add(1) };
    message(&mut bytes, end, BATCH, |_| ());
    bytes
}

/// Asks for one element.
pub fn get(element: &Element, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    element_message(&mut bytes, Verb::Get, element, ACK, sequence);
    bytes
}

/// Asks for the number of the ruleset's last change.
pub fn get_generation(sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(20);
    let header = Header { kind: nf_tables(GET_GENERATION), flags: REQUEST | ACK, sequence };
    message(&mut bytes, header, General { family: 0, resource: 0 }, |_| ());
    bytes
}

/// Asks for a table, which tells its handle.
pub fn get_table(version: Family, table: &Name, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let header = Header { kind: nf_tables(GET_TABLE), flags: REQUEST | ACK, sequence };
    message(&mut bytes, header, General { family: family(version), resource: 0 }, |body| {
        attribute(body, TABLE_NAME, |value| text(value, table.as_str()));
    });
    bytes
}

/// Asks for all rules of a chain.
pub fn get_rules(version: Family, table: &str, chain: &str, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let header = Header { kind: nf_tables(GET_RULE), flags: REQUEST | DUMP, sequence };
    message(&mut bytes, header, General { family: family(version), resource: 0 }, |body| {
        attribute(body, RULE_TABLE, |value| text(value, table));
        attribute(body, RULE_CHAIN, |value| text(value, chain));
    });
    bytes
}

fn family(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Ip6 => 10,
    }
}

fn element_message(bytes: &mut Vec<u8>, verb: Verb, element: &Element, ack: u16, sequence: u32) {
    let (kind, flags) = match verb {
        Verb::Add => (NEW_ELEMENT, REQUEST | CREATE | EXCLUSIVE | ack),
        Verb::Delete => (DELETE_ELEMENT, REQUEST | ack),
        Verb::Get => (GET_ELEMENT, REQUEST | ack),
    };
    let general = General { family: family(element.family), resource: 0 };
    message(bytes, Header { kind: nf_tables(kind), flags, sequence }, general, |body| {
        attribute(body, LIST_TABLE, |value| text(value, element.table.as_str()));
        attribute(body, LIST_SET, |value| text(value, &element.set));
        attribute(body, LIST_ELEMENTS | NESTED, |list| {
            attribute(list, LIST_ITEM | NESTED, |item| element_attributes(item, verb, element));
        });
    });
}

fn element_attributes(item: &mut Vec<u8>, verb: Verb, element: &Element) {
    if verb == Verb::Add
        && let Some(ms) = element.timeout_ms()
    {
        attribute(item, ELEMENT_TIMEOUT, |value| value.extend(ms.to_be_bytes()));
    }
    attribute(item, ELEMENT_KEY | NESTED, |key| {
        attribute(key, DATA_VALUE, |value| {
            let Spot { address, peer, service, .. } = element.spot;
            octets(value, address);
            if let Some(peer) = peer {
                octets(value, peer);
            }
            if let Some(Service { proto, port }) = service {
                value.extend([proto.number(), 0, 0, 0]);
                value.extend(port.get().to_be_bytes());
                value.extend([0, 0]);
            }
        });
    });
    if verb == Verb::Add
        && let Some(to) = element.to
    {
        attribute(item, ELEMENT_DATA | NESTED, |data| {
            attribute(data, DATA_VALUE, |value| match to {
                Value::Address(address) => octets(value, address),
                Value::Port(port) => value.extend(port.get().to_be_bytes()),
                // A concatenation: no map of ours has one.
                Value::Socket(address, port) => {
                    octets(value, address);
                    value.extend(port.get().to_be_bytes());
                }
            });
        });
    }
    if verb == Verb::Add
        && let Some(comment) = &element.comment
        && comment.len() <= COMMENT_MAX
    {
        attribute(item, ELEMENT_USERDATA, |value| {
            // nft's own user data: type, length with the closing zero, text.
            value.extend([USERDATA_COMMENT, comment.len() as u8 + 1]);
            text(value, comment);
        });
    }
}

fn octets(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

/// What the kernel says, message by message. Stops at the first that is damaged.
pub fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut rest = bytes;
    let mut answers = Vec::new();
    while let Some((message, following)) = next_message(rest) {
        answers.push(message);
        rest = following;
    }
    answers
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message it answers.
    pub sequence: u32,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Positive error number; 0 acknowledges, or ends a list.
    Error(i32),
    Element(Stored),
    Generation(u32),
    /// A table's number, which no other ever has.
    Table(u64),
    /// A rule's number in its table, which no other ever has.
    Rule(u64),
    Other,
}

/// What the kernel keeps with an element's key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    pub to: Option<Value>,
    /// `None`: it never expires.
    pub remaining: Option<Duration>,
    pub comment: Option<String>,
}

fn next_message(bytes: &[u8]) -> Option<(Answer, &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let message = bytes.get(..length)?;
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let content = content(kind, message.get(HEADER_LEN..)?).unwrap_or(Content::Other);
    let following = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((Answer { sequence, content }, following))
}

fn content(kind: u16, body: &[u8]) -> Option<Content> {
    if [ERROR, DONE].contains(&kind) {
        return Some(Content::Error(i32::from_ne_bytes(*body.first_chunk()?).checked_neg()?));
    }
    let body = body.get(GENERAL_LEN..)?;
    if kind == nf_tables(NEW_TABLE) {
        return Some(Content::Table(u64::from_be_bytes(*find(body, TABLE_HANDLE)?.first_chunk()?)));
    }
    if kind == nf_tables(NEW_RULE) {
        return Some(Content::Rule(u64::from_be_bytes(*find(body, RULE_HANDLE)?.first_chunk()?)));
    }
    if kind == nf_tables(NEW_GENERATION) {
        let id = find(body, GENERATION_ID)?;
        return Some(Content::Generation(u32::from_be_bytes(*id.first_chunk()?)));
    }
    if kind == nf_tables(NEW_ELEMENT) {
        let item = find(find(body, LIST_ELEMENTS)?, LIST_ITEM)?;
        return Some(Content::Element(stored(item)));
    }
    None
}

fn stored(item: &[u8]) -> Stored {
    let milliseconds = |kind| Some(u64::from_be_bytes(*find(item, kind)?.first_chunk()?));
    // Without an expiration, the timeout alone says that it will expire, and then at the latest.
    let remaining = milliseconds(ELEMENT_EXPIRATION).or_else(|| milliseconds(ELEMENT_TIMEOUT));
    Stored {
        to: find(item, ELEMENT_DATA).and_then(|data| value(find(data, DATA_VALUE)?)),
        remaining: remaining.map(Duration::from_millis),
        comment: find(item, ELEMENT_USERDATA).and_then(comment),
    }
}

/// Of our maps: its length tells what it is.
fn value(bytes: &[u8]) -> Option<Value> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Value::Address(v4.into()));
    }
    if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        return Some(Value::Address(v6.into()));
    }
    Port::new(u16::from_be_bytes(bytes.try_into().ok()?)).map(Value::Port)
}

/// nft's user data is a row of type, length, value; the comment ends with a zero.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == USERDATA_COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return String::from_utf8(text.to_vec()).ok();
        }
        data = &rest[value.len()..];
    }
    None
}

/// The value of the first attribute of this kind.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(ATTRIBUTE_LEN..length)?;
        if kind & KIND_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// `struct nfgenmsg`, version 0.
#[derive(Clone, Copy)]
struct General {
    family: u8,
    resource: u16,
}

/// Its length is known only when its content is written.
fn message(bytes: &mut Vec<u8>, header: Header, general: General, content: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(header.kind.to_ne_bytes());
    bytes.extend(header.flags.to_ne_bytes());
    bytes.extend(header.sequence.to_ne_bytes());
    bytes.extend([0; 4]); // from whom: the kernel knows
    bytes.extend([general.family, 0]);
    bytes.extend(general.resource.to_be_bytes());
    content(bytes);
    let length = (bytes.len() - start) as u32; // a few hundred bytes
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    content(bytes);
    let length = (bytes.len() - start) as u16; // a few hundred bytes
    bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// `NFNL_SUBSYS_NFTABLES` in the upper byte.
const fn nf_tables(message: u16) -> u16 {
    10 << 8 | message
}

const HEADER_LEN: usize = 16;
const GENERAL_LEN: usize = 4;
const ATTRIBUTE_LEN: usize = 4;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const BATCH: General = General { family: 0, resource: 10 };
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const NEW_GENERATION: u16 = 15;
const GET_GENERATION: u16 = 16;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCLUSIVE: u16 = 0x200;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

const NESTED: u16 = 0x8000;
/// Without the flags "nested" and "network byte order".
const KIND_MASK: u16 = 0x3fff;

const BATCH_GENERATION: u16 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const TABLE_NAME: u16 = 1;
const TABLE_HANDLE: u16 = 4;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_USERDATA: u16 = 6;
const DATA_VALUE: u16 = 1;
const GENERATION_ID: u16 = 1;
const USERDATA_COMMENT: u8 = 0;
/// `NFTNL_UDATA_COMMENT_MAXLEN`, without the closing zero. Ours are shorter.
const COMMENT_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::firewall::Kind;

    fn spot(address: &str, service: &str) -> Spot {
        let (address, service) = (address.parse().unwrap(), Some(service.parse().unwrap()));
        Spot { kind: Kind::Input, address, peer: None, service }
    }

    fn element() -> Element {
        Element {
            family: Family::Inet,
            table: "filter".parse().unwrap(),
            set: "fwknop4".to_owned(),
            spot: spot("198.51.100.8", "tcp/22"),
            to: None,
            timeout: Some(Duration::from_secs(30)),
            comment: Some("fwknop:17:1748779233".to_owned()),
        }
    }

    /// The same bytes as `nft --debug=mnl add element inet filter fwknop4 { … }` shows (1.0.6), but for the flags and
    /// for the set's number in the transaction, which only a set made in it has.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_transaction_is_written_as_nft_writes_it() {
        let expected: &[&[u8]] = &[
            &[20, 0, 0, 0, 16, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
            &[112, 0, 0, 0, 12, 10, 5, 6, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            b"\x0b\0\x01\0filter\0\0",
            b"\x0c\0\x02\0fwknop4\0",
            &[68, 0, 3, 128, 64, 0, 1, 128],
            &[12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0x75, 0x30],
            &[20, 0, 1, 128, 16, 0, 1, 0, 198, 51, 100, 8, 6, 0, 0, 0, 0, 22, 0, 0],
            b"\x1b\0\x06\0\0\x15fwknop:17:1748779233\0\0",
            &[20, 0, 0, 0, 17, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        ];
        assert_eq!(batch(&[(Verb::Add, &element())], 7), expected.concat());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_ipv6_key_has_sixteen_bytes_and_a_deletion_nothing_else() {
        let element = Element {
            family: Family::Ip6,
            set: "fwknop6".to_owned(),
            spot: spot("2001:db8::1", "udp/53"),
            ..element()
        };
        let expected: &[&[u8]] = &[
            &[84, 0, 0, 0, 14, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0],
            b"\x0b\0\x01\0filter\0\0",
            b"\x0c\0\x02\0fwknop6\0",
            &[40, 0, 3, 128, 36, 0, 1, 128, 32, 0, 1, 128, 28, 0, 1, 0],
            &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0],
        ];
        assert_eq!(batch(&[(Verb::Delete, &element)], 0)[20..104], expected.concat());
    }

    /// As `nft --debug=mnl delete rule ip filter FWKNOP_INPUT handle 5` shows it, but for the ruleset's number, which nft does not name.
    #[test]
    #[cfg(target_endian = "little")]
    fn rules_are_removed_as_nft_removes_them() {
        let expected: &[&[u8]] = &[
            &[28, 0, 0, 0, 16, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
            &[8, 0, 1, 0, 0, 0, 1, 2],
            &[64, 0, 0, 0, 8, 10, 5, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
            b"\x0b\0\x01\0filter\0\0",
            b"\x11\0\x02\0FWKNOP_INPUT\0\0\0\0",
            &[12, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            &[20, 0, 0, 0, 17, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        ];
        assert_eq!(delete_rules(Family::Ip, "filter", &[("FWKNOP_INPUT", 5)], 258, 7), expected.concat());
    }

    #[test]
    fn the_end_of_a_list_is_read_like_an_acknowledgement() {
        let mut bytes = Vec::new();
        let header = |kind| Header { kind, flags: 2, sequence: 3 };
        message(&mut bytes, header(nf_tables(NEW_RULE)), General { family: 2, resource: 0 }, |body| {
            attribute(body, RULE_CHAIN, |value| text(value, "FWKNOP_INPUT"));
            attribute(body, RULE_HANDLE, |value| value.extend(9_u64.to_be_bytes()));
        });
        message(&mut bytes, header(DONE), General { family: 0, resource: 0 }, |_| ());
        let answer = |content| Answer { sequence: 3, content };
        assert_eq!(answers(&bytes), [answer(Content::Rule(9)), answer(Content::Error(0))]);
    }

    #[test]
    fn only_the_last_change_asks_for_an_answer() {
        let element = element();
        let bytes = batch(&[(Verb::Delete, &element), (Verb::Add, &element)], u32::MAX);
        let flags_at = |offset: usize| u16::from_ne_bytes([bytes[offset + 6], bytes[offset + 7]]);
        let deletion = 20;
        let addition = deletion + usize::from(bytes[deletion]);
        assert_eq!(flags_at(deletion), REQUEST);
        assert_eq!(flags_at(addition), REQUEST | CREATE | EXCLUSIVE | ACK);
        assert_eq!(flags_at(addition + usize::from(bytes[addition])), REQUEST);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let mut bytes = Vec::new();
        let header = Header { kind: nf_tables(NEW_ELEMENT), flags: 0, sequence: 3 };
        message(&mut bytes, header, General { family: 1, resource: 0 }, |body| {
            attribute(body, LIST_TABLE, |value| text(value, "filter"));
            attribute(body, LIST_ELEMENTS | NESTED, |list| {
                attribute(list, LIST_ITEM | NESTED, |item| {
                    let to = Some(Value::Address("10.1.2.3".parse().unwrap()));
                    element_attributes(item, Verb::Add, &Element { to, ..element() });
                    attribute(item, ELEMENT_EXPIRATION, |value| value.extend(12_345_u64.to_be_bytes()));
                });
            });
        });
        let header = Header { kind: ERROR, flags: 0, sequence: 4 };
        let start = bytes.len();
        message(&mut bytes, header, General { family: 0, resource: 0 }, |_| ());
        bytes[start + HEADER_LEN..].copy_from_slice(&(-2_i32).to_ne_bytes());

        let stored = Stored {
            to: Some(Value::Address("10.1.2.3".parse().unwrap())),
            remaining: Some(Duration::from_millis(12_345)),
            comment: Some("fwknop:17:1748779233".to_owned()),
        };
        assert_eq!(
            answers(&bytes),
            [
                Answer { sequence: 3, content: Content::Element(stored) },
                Answer { sequence: 4, content: Content::Error(2) }
            ]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes);
            let _ = stored(&bytes);
            let _ = comment(&bytes);
        }

        /// Lengths that lie, in a message that is otherwise sound.
        #[test]
        fn damaged_messages_are_read_without_harm(at in 0_usize..132, byte: u8) {
            let mut bytes = batch(&[(Verb::Add, &element())], 1);
            bytes[at] = byte;
            let _ = answers(&bytes);
        }
    }
}
