//! Pixels as numbers.

/// `pixel / 255`, from 0 to 1. In batches this is most of the work of reading images, and multiplication is quicker than division:
/// `p / 255 = 257 p / 65535 = t + t / 65535` for `t = 257 p / 65536`, which is exact, and the second term is too small for its
/// rounding to matter.
pub(super) fn unit(pixel: u8) -> f32 {
    let t = f32::from(pixel) * (257.0 / 65536.0);
    t + t * (1.0 / 65535.0)
}

#[cfg(test)]
mod tests {
    use super::unit;

    #[test]
    fn every_pixel_is_the_quotient() {
        for pixel in 0..=255 {
            assert_eq!(unit(pixel).to_bits(), (f32::from(pixel) / 255.0).to_bits(), "{pixel}");
        }
    }
}
