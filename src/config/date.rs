//! Dates of access stanzas: `MM/DD/YYYY` means the beginning of that day, local time (`spec/access.md` 3).

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::value::digits;
use crate::time::Timestamp;

/// The same, or `YYYY-MM-DD`: for command lines.
pub fn parse_any(text: &str) -> Option<Timestamp> {
    match text.split('-').collect::<Vec<_>>()[..] {
        [year, month, day] if year.len() == 4 => parse(&format!("{month}/{day}/{year}")),
        _ => parse(text),
    }
}

/// Years of one or two digits are those of this century. `None`: not a date, or before 1970.
pub fn parse(text: &str) -> Option<Timestamp> {
    let parts: Vec<&str> = text.split('/').collect();
    let [month, day, year] = parts[..] else { return None };
    let number = |text: &str, longest: usize| {
        let fits = (1..=longest).contains(&text.len());
        fits.then(|| digits(text)).flatten().and_then(|number| i16::try_from(number).ok())
    };
    let year = number(year, 4).map(|year| if year < 100 { year + 2000 } else { year })?;
    let date = Date::new(year, number(month, 2)?.try_into().ok()?, number(day, 2)?.try_into().ok()?).ok()?;
    let midnight = date.to_zoned(TimeZone::system()).ok()?;
    u64::try_from(midnight.timestamp().as_second()).ok().map(Timestamp::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_local_midnight() {
        let zoned = |text: &str| {
            let secs = i64::try_from(parse(text).unwrap().secs()).unwrap();
            jiff::Timestamp::from_second(secs).unwrap().to_zoned(TimeZone::system()).datetime().to_string()
        };
        assert_eq!(zoned("12/31/2030"), "2030-12-31T00:00:00");
        assert_eq!(parse_any("2030-12-31"), parse("12/31/2030"));
        assert_eq!((parse_any("30-12-31"), parse_any("2030-12"), parse_any("1/2/30")), (None, None, parse("1/2/30")));
        assert_eq!(zoned("1/2/30"), "2030-01-02T00:00:00");
        for bad in ["", "2030-12-31", "13/01/2030", "02/30/2030", "1/2", "1/2/3/4", "a/b/c", "01/01/1969", "1/1/20300"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
