//! Whatever a stranger sends: only canonical text is recognised, and it is cut where it may be cut.
#![no_main]

use fwknop::spa::{Envelope, HttpRules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (switches, payload) = input;
    let http = HttpRules {
        enabled: switches & 1 != 0,
        any_user_agent: switches & 2 != 0,
        forwarded_for: switches & 4 != 0,
    };
    let Ok(envelope) = Envelope::recognise(payload, http) else { return };

    let text = envelope.text();
    assert!((Envelope::MIN..=Envelope::MAX).contains(&text.len()));
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/'), "not canonical: {text}");
    assert!(!text.starts_with("U2FsdGVkX1"), "the prefix was put back");
    assert!(http.forwarded_for || envelope.forwarded_for().is_none(), "a header was believed");

    let again = Envelope::recognise(text.as_bytes(), HttpRules::default()).expect("canonical text is recognised");
    assert_eq!(again.replay_key(), envelope.replay_key(), "one text, one key");
    for tag_len in [0, 22, 27, 43, 64, 86, usize::from(switches), text.len(), usize::MAX] {
        if let Ok((body, tag)) = envelope.split_tag(tag_len) {
            assert_eq!(tag.len(), tag_len);
            assert_eq!(format!("{body}{tag}"), text);
        }
    }
});
