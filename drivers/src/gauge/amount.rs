//! A number as it is written, made into an amount that is zero only when the number is.

/// An amount that is not negative, and finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Amount(f64);

impl Amount {
    pub(super) const ZERO: Self = Self(0.0);

    /// Reads a decimal number with an optional sign, fraction and exponent.
    ///
    /// # Errors
    /// Why it is no amount.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        match unsigned.to_ascii_lowercase().as_str() {
            "nan" => return Err("the gauge says NaN".to_owned()),
            "inf" | "infinity" => return Err(format!("the gauge says {text}")),
            _ => {}
        }
        let decimal = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let number = text
            .bytes()
            .all(decimal)
            .then(|| text.parse::<f64>().ok())
            .flatten();
        let Some(number) = number else {
            return Err(format!("`{text}` is not a number"));
        };
        if !has_value(unsigned) {
            return Ok(Self::ZERO);
        }
        if text.starts_with('-') {
            return Err(format!(
                "the gauge says {text}, and nothing can be less than none"
            ));
        }
        // `1e-400` is not zero, whatever a float makes of it; `1e400` is as many as can be counted.
        Ok(Self(number.clamp(f64::MIN_POSITIVE, f64::MAX)))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(f64::MAX))
    }

    /// Returns the amount in whole operations, rounded up.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and not negative, and what is too large becomes the largest"
    )]
    pub(super) fn rounded_up(self) -> u64 {
        self.0.ceil() as u64
    }
}

/// Tells whether a number without its sign has a digit other than zero before its exponent.
fn has_value(unsigned: &str) -> bool {
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or(unsigned);
    mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_up_and_only_zero_is_zero() {
        for (text, amount) in [
            ("0", 0),
            ("0.0", 0),
            ("-0", 0),
            ("0e7", 0),
            ("1", 1),
            ("+3", 3),
            ("0.001", 1),
            ("2.5", 3),
            ("1e3", 1000),
            ("1e-400", 1),
            (
                "0.0000000000000000000000000000000000000000000000000000001e-300",
                1,
            ),
            ("1e400", u64::MAX),
            ("18446744073709551616", u64::MAX),
        ] {
            assert_eq!(
                Amount::parse(text).map(Amount::rounded_up),
                Ok(amount),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "", "-1", "-1e-400", "NaN", "nan", "+Inf", "-Inf", "inf", "0x0", "1_0", "e", ".",
        ] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }
}
