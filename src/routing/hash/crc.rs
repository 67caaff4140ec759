//! The three checksums. Only crc32a is the checksum that it is called; the other two are kept as
//! twemproxy has them, since keys lie where they say.

/// CRC-CCITT (XMODEM: polynomial 0x1021, start 0) in a register of 32 bits that is never cut to 16.
pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc: u32, &byte| {
        (crc << 8) ^ u32::from(CRC16[usize::from((crc >> 8) as u8 ^ byte)])
    })
}

/// CRC-32 without its low 16 bits and its highest: 15 bits remain (libmemcached's `crc`).
pub(super) fn crc32(key: &[u8]) -> u32 {
    (crc32a(key) >> 16) & 0x7fff
}

/// CRC-32 as in zlib.
pub(super) fn crc32a(key: &[u8]) -> u32 {
    !key.iter().fold(u32::MAX, |crc, &byte| (crc >> 8) ^ CRC32[usize::from(crc as u8 ^ byte)])
}

static CRC16: [u16; 256] = crc16_table();
static CRC32: [u32; 256] = crc32_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc >> 15;
            crc = (crc << 1) ^ (carry * 0x1021);
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (carry * 0xedb8_8320);
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}
