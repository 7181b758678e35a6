//! The records of which event files are made: length, its checksum, bytes, their checksum, all little-endian.

/// One record.
pub(super) fn of(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length).to_le_bytes(), bytes, &checksum(bytes).to_le_bytes()].concat()
}

/// CRC-32C, turned and moved: a checksum of bytes that hold checksums would be weak.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C of `123456789` is the algorithm's published check value, 0xe3069283: `((c >> 15 | c << 17) + 0xa282ead8) mod 2^32`.
    #[test]
    fn records_are_framed() {
        assert_eq!(checksum(b"123456789"), 0xc78a_b0e5);
        let record = of(b"123456789");
        assert_eq!(
            (record.len(), &record[..8], &record[12..21]),
            (8 + 4 + 9 + 4, &[9, 0, 0, 0, 0, 0, 0, 0][..], &b"123456789"[..])
        );
        assert_eq!(record[21..], checksum(b"123456789").to_le_bytes());
    }
}
