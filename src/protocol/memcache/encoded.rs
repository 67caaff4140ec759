//! Keys that clients write as base64: any bytes can be a key so.

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes `text` into `out`; how many bytes that are, `None` if it is not base64 or none at all.
pub fn decode_base64(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let plain = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if !text.len().is_multiple_of(4) || plain.is_empty() {
        return None;
    }
    let (mut bits, mut held, mut used) = (0u32, 0, 0);
    for byte in plain {
        let six = BASE64.iter().position(|known| known == byte)?;
        bits = (bits << 6 | six as u32) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            *out.get_mut(used)? = (bits >> held) as u8;
            used += 1;
        }
    }
    Some(used)
}

/// Appends `bytes` as base64.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place) & 0x3f) as usize;
            out.push(if place > three.len() { b'=' } else { BASE64[six] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decode_base64, write_base64};

    #[test]
    fn base64_comes_back() {
        for bytes in [&b"f"[..], b"fo", b"foo", b"\0\xff\x80", b"foobar!"] {
            let mut text = Vec::new();
            write_base64(bytes, &mut text);
            let mut out = [0; 16];
            let len = decode_base64(&text, &mut out).unwrap();
            assert_eq!(&out[..len], bytes);
        }
        for bad in [&b""[..], b"a", b"Zm9", b"!!!!", b"====", b"Zm9v="] {
            assert_eq!(decode_base64(bad, &mut [0; 16]), None, "{bad:?}");
        }
    }
}
