use super::*;

/// A client's Initial packet to this connection id, with a number of one byte.
pub fn initial(id: &[u8], packet_number: u8, frames: &[u8]) -> Vec<u8> {
    let keys = Keys::of(id).unwrap();
    // Number, payload of at least as many bytes as a sample needs, tag.
    let mut frames = frames.to_vec();
    frames.resize(frames.len().max(4), 0);
    let length = (1 + frames.len() + 16) as u16;
    let mut header = [&[0xc0][..], &VERSION, &[id.len() as u8], id, &[0, 0]].concat();
    header.extend((0x4000 | length).to_be_bytes());
    header.push(packet_number);
    let nonce = keys.nonce(&[packet_number]);
    let sealed =
        keys.cipher().encrypt(Nonce::from_slice(&nonce), Payload { msg: &frames, aad: &header }).unwrap();
    let sample = [&[packet_number][..], &sealed].concat()[4..4 + SAMPLE].to_vec();
    let mask = keys.mask(&sample).unwrap();
    header[0] ^= mask[0] & 0x0f;
    *header.last_mut().unwrap() ^= mask[1];
    [header, sealed].concat()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// RFC 9001, appendix A.1 and A.2.
#[test]
fn keys_and_masks_are_those_of_the_specification() {
    let keys = Keys::of(&hex("8394c8f03e515708")).unwrap();
    assert_eq!(keys.key.to_vec(), hex("1f369613dd76d5467730efcbe3b1a22d"));
    assert_eq!(keys.iv.to_vec(), hex("fa044b2f42a3fd3b46fb255c"));
    assert_eq!(keys.header.to_vec(), hex("9f50449e04a0e810283a1e9933adedd2"));
    let mask = keys.mask(&hex("d1b1c98dd7689fb8ec11d242b123dc9b")).unwrap();
    assert_eq!(mask[..5].to_vec(), hex("437b9aec36"));
}

#[test]
fn numbers_have_the_lengths_that_they_say() {
    // RFC 9000, appendix A.1.
    for (text, value) in [("25", 37), ("7bbd", 15_293), ("9d7f3e7d", 494_878_333), ("4025", 37)] {
        assert_eq!(number(&hex(text)), Some((value, &[][..])), "{text}");
    }
    assert_eq!(number(&hex("7b")), None);
}
