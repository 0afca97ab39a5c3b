use super::*;

fn accept(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, value.parse().expect("header"));
    headers
}

fn media(format: Format, form: Form) -> Option<Media> {
    Some(Media { format, form })
}

#[test]
fn first_acceptable_clause_wins() {
    let table = Form::Table(MetaVersion::V1);
    let rows = [
        ("application/json", media(Format::Json, Form::Object)),
        ("*/*", media(Format::Json, Form::Object)),
        ("*", media(Format::Json, Form::Object)),
        ("application/*", media(Format::Json, Form::Object)),
        ("text/html", None),
        ("application", None),
        ("application/cbor", None),
        ("application/cbor, */*", media(Format::Json, Form::Object)),
        (
            "application/vnd.kubernetes.protobuf, application/json",
            media(Format::Protobuf, Form::Object),
        ),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            media(Format::Json, table),
        ),
        (
            "application/yaml;as=Table;v=v1beta1;g=meta.k8s.io",
            media(Format::Yaml, Form::Table(MetaVersion::V1beta1)),
        ),
        (
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
            None,
        ),
        (
            "*/*;as=Table;v=v1;g=meta.k8s.io",
            media(Format::Json, table),
        ),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
        (
            "application/json;as=Other;v=v1;g=meta.k8s.io,application/json",
            media(Format::Json, Form::Object),
        ),
        ("application/json;v=v1", None),
        (
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            media(Format::Json, Form::Metadata(MetaVersion::V1)),
        ),
        (
            "application/json;q=0.5,application/yaml",
            media(Format::Yaml, Form::Object),
        ),
        (
            "application/json;q=x,application/yaml;q=0.1",
            media(Format::Yaml, Form::Object),
        ),
        ("*/*,application/yaml", media(Format::Yaml, Form::Object)),
        (
            "application/json;pretty=1",
            media(Format::Pretty, Form::Object),
        ),
        (
            "application/json;stream=watch",
            media(Format::Json, Form::Object),
        ),
        ("application/json;stream=other", None),
        (
            "application/yaml;stream=watch,application/json",
            media(Format::Json, Form::Object),
        ),
        ("application/json;sv=v1", media(Format::Json, Form::Object)),
        ("application/json;sv=v2", None),
        (
            "application/json;charset=utf-8",
            media(Format::Json, Form::Object),
        ),
    ];
    for (text, want) in rows {
        assert_eq!(
            negotiate(&accept(text), Offers::Builtin, false).ok(),
            want,
            "{text}"
        );
    }
}

#[test]
fn reviews_are_no_rows() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    assert!(negotiate(&accept(table), Offers::Untabled, false).is_err());
    let both = accept(&format!("{table},application/json"));
    let json = negotiate(&both, Offers::Untabled, false).ok();
    assert_eq!(json, media(Format::Json, Form::Object));
}

#[test]
fn custom_objects_have_no_protobuf_but_their_metadata_has() {
    let rows = [
        ("application/vnd.kubernetes.protobuf", None),
        (
            "application/vnd.kubernetes.protobuf, application/json",
            media(Format::Json, Form::Object),
        ),
        (
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            media(Format::Protobuf, Form::Metadata(MetaVersion::V1)),
        ),
    ];
    for (text, want) in rows {
        assert_eq!(
            negotiate(&accept(text), Offers::Custom, false).ok(),
            want,
            "{text}"
        );
    }
}

#[test]
fn router_looks_at_bare_types_only() {
    let rows = [
        ("", true),
        ("application/*", false),
        ("*/*", true),
        ("text/html, application/json;as=Wrong", true),
        ("application/cbor", false),
        ("text/plain", false),
    ];
    for (text, want) in rows {
        let headers = accept(text);
        assert_eq!(check_route(&headers, &[], false).is_ok(), want, "{text}");
    }
    assert!(check_route(&accept("text/plain"), &["text/plain"], false).is_ok());
    let refusal = check_route(&accept("text/html"), &[], true).expect_err("no HTML");
    let text = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                application/vnd.kubernetes.protobuf;stream=watch";
    assert_eq!(refusal.status().message, text);
}

#[test]
fn status_is_json_for_people_when_nothing_fits() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let rows = [
        ("text/html", Format::Pretty),
        (table, Format::Pretty),
        ("application/yaml", Format::Yaml),
        (
            "application/vnd.kubernetes.protobuf;stream=watch",
            Format::Protobuf,
        ),
    ];
    for (text, want) in rows {
        assert_eq!(for_status(&accept(text), false), want, "{text}");
    }
    let both = format!("{table},application/json");
    assert_eq!(for_status(&accept(&both), false), Format::Json);
}

#[test]
fn pretty_is_a_go_bool() {
    let mut curl = HeaderMap::new();
    curl.insert(header::USER_AGENT, "curl/8".parse().expect("header"));
    let rows = [
        (Some("true"), false, true),
        (Some("1"), false, true),
        (Some("maybe"), true, false),
        (Some("false"), true, false),
        (Some(""), true, true),
        (None, true, true),
        (None, false, false),
    ];
    for (query, by_curl, want) in rows {
        let headers = if by_curl {
            curl.clone()
        } else {
            HeaderMap::new()
        };
        assert_eq!(pretty(query, &headers), want, "{query:?}");
    }
}

#[test]
fn aggregated_discovery_is_what_the_first_fitting_clause_says() {
    const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let rows = [
        (V2.to_owned(), Some(Format::Json)),
        (format!("{V2};profile=nopeer"), Some(Format::Json)),
        (format!("application/json,{V2}"), None),
        (V2.replace("v=v2", "v=v3"), None),
        (
            format!("{},application/json", V2.replace("v=v2", "v=v3")),
            None,
        ),
    ];
    for (text, want) in rows {
        assert_eq!(aggregated_discovery(&accept(&text), false), want, "{text}");
    }
}
