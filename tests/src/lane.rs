//! Lanes as the interface defines them, computed bit by bit, so that a table or a library can be wrong alone.

/// The IEEE CRC-32, zlib's.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xEDB8_8320
        } else {
            crc >> 1
        }
    };
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), step)
    })
}

/// `lowercase(trim(text))`.
pub fn norm(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The lane of a routing key, 0 to 15.
pub fn of_key(routing_key: &str) -> u32 {
    crc32(routing_key.as_bytes()) % 16
}

/// The topic of a routing key.
pub fn topic(routing_key: &str) -> String {
    format!("global-bus-p{}", of_key(routing_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        // python3 -c 'import zlib; print(zlib.crc32("müller".encode()) % 16)'
        assert_eq!(of_key(&norm("  MÜLLER ")), crc32("müller".as_bytes()) % 16);
    }
}
