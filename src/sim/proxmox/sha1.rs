//! SHA-1 (RFC 3174), for the WebSocket handshake (RFC 6455 §4.2.2) and for digests that look real.
//!
//! Never used where collisions matter: a simulation has no secrets worth forging.

/// The SHA-1 digest of `message`.
pub(super) fn digest(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        mix(&mut state, block);
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// The digest in lower-case hexadecimal, as configuration files' `digest` properties show it.
pub(super) fn hex(message: &[u8]) -> String {
    digest(message).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `length` bytes that depend on every byte of `message`, for things that look like signatures.
pub(super) fn stretch(message: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 20);
    let mut counter = 0_u32;
    while out.len() < length {
        let block = [message, &counter.to_be_bytes()[..]].concat();
        out.extend_from_slice(&digest(&block));
        counter += 1;
    }
    out.truncate(length);
    out
}

fn mix(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..80 {
        words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (i, word) in words.iter().enumerate() {
        let (f, k) = match i {
            0..20 => ((b & c) | (!b & d), 0x5A82_7999),
            20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
        };
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(part);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_are_the_published_ones() {
        assert_eq!(super::hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(super::hex(two_blocks), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    }
}
