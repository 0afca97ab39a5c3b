use super::*;
use serde_json::json;

/// Recorded from kube-apiserver v1.37.2 as `max.memory` of LimitRanges: what was sent, what came back (or the error).
#[test]
fn quantities_come_back_as_upstream_answers() {
    let format = ParseError::Format;
    let suffix = ParseError::Suffix;
    let table: Vec<(Value, Result<&str, ParseError>)> = vec![
        (json!(1), Ok("1")),
        (json!(0), Ok("0")),
        (json!("0"), Ok("0")),
        (json!("0.1"), Ok("100m")),
        (json!(".5"), Ok("500m")),
        (json!("1."), Ok("1.")),
        (json!("100m"), Ok("100m")),
        (json!("1000m"), Ok("1")),
        (json!("1500m"), Ok("1500m")),
        (json!("0.0001"), Ok("1m")),
        (json!("1u"), Ok("1m")),
        (json!("1n"), Ok("1m")),
        (json!("0.5n"), Ok("1m")),
        (json!("1k"), Ok("1k")),
        (json!("1K"), Err(suffix)),
        (json!("1Ki"), Ok("1Ki")),
        (json!("1024Ki"), Ok("1Mi")),
        (json!("1M"), Ok("1M")),
        (json!("1e3"), Ok("1e3")),
        (json!("1E3"), Ok("1E3")),
        (json!("1e-3"), Ok("1e-3")),
        (json!("12e6"), Ok("12e6")),
        (json!("1000000"), Ok("1M")),
        (json!("1048576"), Ok("1048576")),
        (json!("1.5Gi"), Ok("1536Mi")),
        (json!("0.5Ki"), Ok("512")),
        (json!("1P"), Ok("1P")),
        (json!("1Ei"), Ok("1Ei")),
        (json!("9223372036854775807"), Ok("9223372036854775807")),
        (json!("9223372036854775808"), Ok("9223372036854775808")),
        (json!("99999999999999999999"), Ok("99999999999999999999")),
        (json!("1.23456789123"), Ok("1235m")),
        (json!("+1"), Ok("+1")),
        (json!("-1"), Ok("-1")),
        (json!("-0"), Ok("0")),
        (json!("00010"), Ok("00010")),
        (json!("1 "), Ok("1")),
        (json!(""), Err(format)),
        (json!("1x"), Err(format)),
        (json!("1mm"), Err(suffix)),
        (json!("1e"), Err(suffix)),
        (json!("0x10"), Err(format)),
        (json!("Ki"), Ok("0")),
        (json!(1.5), Ok("1500m")),
        (json!("1e+21"), Ok("1e+21")),
        (json!(true), Err(format)),
        (json!(null), Ok("0")),
        (json!("1,5"), Err(format)),
        (json!("1_000"), Err(format)),
        (json!("128974848"), Ok("128974848")),
        (json!("129e6"), Ok("129e6")),
        (json!("123Mi"), Ok("123Mi")),
        (json!("100000000000m"), Ok("100M")),
        (json!("0.1m"), Ok("1m")),
    ];
    for (sent, wanted) in table {
        let got = Quantity::from_json(&sent).map(|mut q| {
            q.round_up_milli();
            q.to_string()
        });
        assert_eq!(got, wanted.map(str::to_owned), "{sent}");
    }
}

#[test]
fn amounts_compare_and_add_across_formats() {
    let q = |t: &str| Quantity::parse(t).expect(t);
    assert!(q("1Gi") > q("1G"));
    assert!(q("1000m") == q("1"));
    assert!(q("-1") < q("0"));
    assert!(q("1e99") > q("99999999999999999999"));
    assert_eq!(
        q("1Gi").checked_add(&q("512Mi")).expect("fits").to_string(),
        "1536Mi"
    );
    assert_eq!(
        q("1").checked_sub(&q("250m")).expect("fits").to_string(),
        "750m"
    );
    assert_eq!(q("1.5").value(), 2);
    assert_eq!(q("100u").milli_value(), 1);
    assert_eq!(q("1e99").value(), i64::MAX);
    assert!(!q("1500m").is_integer());
    assert!(q("2000m").is_integer());
}
