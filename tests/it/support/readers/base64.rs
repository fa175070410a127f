//! Keys of tags: the API keeps them in base64, as they may hold dots and dollar signs.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A key as it is stored.
pub(super) fn encoded(plain: &str) -> String {
    let mut out = String::new();
    for chunk in plain.as_bytes().chunks(3) {
        let mut bits = [0_u8; 3];
        bits[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for place in 0..4 {
            let index = (word >> (18 - 6 * place)) & 0x3F;
            out.push(if place <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    out
}

/// A stored key in plain text; one that is no base64 fails the whole page.
pub(super) fn decoded(stored: &str) -> String {
    let refuse = || -> ! { panic!("HTTP 500: the key {stored} of tags is no base64") };
    let body = stored.trim_end_matches('=');
    if !stored.len().is_multiple_of(4) || stored.len() - body.len() > 2 {
        refuse();
    }
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u32, Vec::new());
    for symbol in body.bytes() {
        let Some(index) = ALPHABET.iter().position(|known| *known == symbol) else { refuse() };
        bits = (bits << 6) | u32::try_from(index).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(((bits >> held) & 0xFF) as u8);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| refuse())
}

#[test]
fn keys_of_tags_come_back_as_they_were() {
    for (plain, stored) in [("team", "dGVhbQ=="), ("app", "YXBw"), ("", ""), ("a.b/c", "YS5iL2M=")]
    {
        assert_eq!((encoded(plain).as_str(), decoded(stored).as_str()), (stored, plain));
    }
}
