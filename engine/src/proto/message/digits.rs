//! A request's id, written out: its decimal digits and the comma behind them, in one register.
//!
//! Digits that are put down one by one and then copied as a block stall the processor: a load that is wider than the stores it
//! needs has to wait until they have left the store buffer, some fifteen cycles. That was a quarter of all the time that encoding
//! took. So the digits are computed eight at a time by multiplication, as `envelope` reads them, and leave as one store.
//!
//! Unit: one id. Cost: some thirty instructions, no memory. Owner: nobody, these are functions. Always: what comes out is what `to_string` says, and
//! a comma. Proof: `agrees_with_the_standard_library`, below.

/// Bytes that [`digits_and_comma`] has room for.
const BYTES: usize = size_of::<u128>();

/// The largest id whose digits leave room for the comma.
const SHORT_MAX: u64 = 10_u64.pow(BYTES as u32 - 1) - 1;

/// The digits of `id` and a comma, from the lowest byte on, and how many bytes they are; what stands above is void. `None` if they are too
/// many: sixteen leave no room for the comma.
///
/// Two numbers and not bytes, and inlined whatever the compiler thinks: it has to stay in registers.
#[inline(always)]
pub(super) fn digits_and_comma(id: u64) -> Option<(u128, usize)> {
    if id < EIGHT_DIGITS {
        let (digits, bits) = leading(id);
        return Some((u128::from(digits) | u128::from(b',') << bits, bits as usize / 8 + 1));
    }
    if id > SHORT_MAX {
        return None;
    }
    // Up to seven digits, which the other eight follow across the border of the two words; then there is room for the comma.
    let (digits, bits) = leading(id / EIGHT_DIGITS);
    let last = eight(id % EIGHT_DIGITS) | ZEROS;
    let first = digits | last << bits;
    let second = last >> (64 - bits) | u64::from(b',') << bits;
    Some((u128::from(second) << 64 | u128::from(first), bits as usize / 8 + 9))
}

/// The same for ids that follow each other, as those of calls do that are made one after another: the next is the last with one more in its
/// last digit, unless that was a nine.
pub(super) struct Successive {
    next: u64,
    /// How often the last digit can still be counted up.
    left: u64,
    text: u128,
    /// One, at the place of the last digit.
    unit: u128,
    len: usize,
}

impl Successive {
    pub(super) fn new() -> Self {
        Self { next: 0, left: 0, text: 0, unit: 0, len: 0 }
    }

    /// What [`digits_and_comma`] says.
    #[inline(always)]
    pub(super) fn digits_and_comma(&mut self, id: u64) -> Option<(u128, usize)> {
        if id == self.next && self.left > 0 {
            self.left -= 1;
            self.text += self.unit;
        } else {
            (self.text, self.len) = digits_and_comma(id)?;
            // The comma stands behind the last digit.
            self.unit = 1 << (8 * (self.len - 2));
            self.left = 9 - id % 10;
        }
        self.next = id + 1;
        Some((self.text, self.len))
    }
}

/// The digits of a number below 10^8, without zeros before the first one, and how many bits they are.
#[inline(always)]
fn leading(number: u64) -> (u64, u32) {
    let digits = eight(number);
    // Of zero one digit is left: the highest bit stands in for it.
    let zeros = (digits | 1 << 63).trailing_zeros() & !7;
    ((digits | ZEROS) >> zeros, 64 - zeros)
}

/// The eight digits of a number below 10^8 as numbers, the first of them lowest: halves are split into fours, fours into pairs,
/// pairs into digits, all of a kind at once. Division is multiplication by the next inverse above, exact for numbers this small.
#[inline(always)]
fn eight(number: u64) -> u64 {
    debug_assert!(number < EIGHT_DIGITS);
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((twos - 10 * tens) << 8)
}

const EIGHT_DIGITS: u64 = 100_000_000;
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(id: u64) {
        let expected = format!("{id},");
        match digits_and_comma(id) {
            Some((text, len)) => assert_eq!(str::from_utf8(&text.to_le_bytes()[..len]), Ok(&*expected)),
            None => assert!(expected.len() > BYTES, "{id} has room"),
        }
    }

    /// Every number of up to five digits, hence every pair and every four of them, and the edges of each length.
    #[test]
    fn agrees_with_the_standard_library() {
        (0..100_000).for_each(check);
        (0..10_000).for_each(|four| check(four * 10_000));
        for digits in 1..=16 {
            let edge = 10_u64.pow(digits);
            [edge - 1, edge, edge + 1].into_iter().for_each(check);
        }
        check((1 << 53) - 1);
    }

    /// In runs, with leaps between them, and over every place where an id becomes longer.
    #[test]
    fn successive_ids_are_written_alike() {
        let text = |id| digits_and_comma(id).map(|(text, len)| text.to_le_bytes()[..len].to_vec());
        let mut ids = Successive::new();
        for begin in [0, 7, 95, 3, 99_999_990, 5, 999_999_999_999_985, 12_345] {
            for id in (begin..begin + 30).chain([begin + 29, begin + 31]) {
                let written = ids.digits_and_comma(id).map(|(text, len)| text.to_le_bytes()[..len].to_vec());
                assert_eq!(written, text(id), "{id}");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_anywhere(id in 0..=(1_u64 << 53) - 1, shift in 0..53) {
            check(id >> shift);
        }
    }
}
