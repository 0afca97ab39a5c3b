use super::*;
use crate::resource::Table;
use serde_json::json;

#[test]
fn label_selector_texts_match_labels() {
    let object = json!({"metadata": {"labels": {"app": "web", "tier": "1", "in": "x"}}});
    let table = [
        ("", true),
        ("app", true),
        ("!app", false),
        ("app=web,tier==1", true),
        ("app!=web", false),
        ("nope!=web", true),
        ("app in (web, db)", true),
        ("app notin (web)", false),
        ("nope notin (web)", true),
        ("tier>0,tier<2", true),
        ("tier>1", false),
        ("in=x", true),
        ("in in (x,)", true),
        ("app=", false),
        (" app = web , ! nope ", true),
    ];
    for (text, matches) in table {
        let selector = LabelSelector::parse(text).expect(text);
        assert_eq!(selector.matches_object(&object), matches, "{text}");
    }
}

#[test]
fn label_selector_texts_fail_as_upstreams() {
    let table = [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        (
            "=a",
            "found '=', expected: !, identifier, or 'end of string'",
        ),
        ("a,", "found '', expected: identifier after ','"),
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a in (b",
            "unable to parse requirement: found '', expected: ',' or ')'",
        ),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, error) in table {
        assert_eq!(
            LabelSelector::parse(text).expect_err(text).to_string(),
            error
        );
    }
}

#[test]
fn label_selectors_print_sorted() {
    let selector = json!({"matchLabels": {"b": "1", "a": "2"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["y", "x"]}, {"key": "0", "operator": "DoesNotExist"}]});
    let selector = LabelSelector::from_object(Some(&selector)).expect("right");
    assert_eq!(selector.to_string(), "!0,a=2,b=1,c in (x,y)");
    assert_eq!(
        LabelSelector::parse(&selector.to_string()).expect("right"),
        selector
    );
}

#[test]
fn absent_selectors_match_nothing_and_empty_ones_everything() {
    let object = json!({"metadata": {}});
    let of = |s: Option<&serde_json::Value>| LabelSelector::from_object(s).expect("right");
    assert!(!of(None).matches_object(&object));
    assert!(!of(Some(&json!(null))).matches_object(&object));
    assert!(of(Some(&json!({}))).matches_object(&object));
    assert!(
        LabelSelector::from_map(None)
            .expect("right")
            .is_everything()
    );
}

/// The recorded scenario `reads/field-selectors`: fields, values, and either a match or the text of the 400.
#[test]
fn field_selectors_answer_as_recorded() {
    let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "n1", "restartPolicy": "Always"},
        "status": {"phase": "Pending"}});
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "k"},
        "regarding": {"name": "p"}, "reason": "R"});
    let table = [
        ("", "pods", &pod, "metadata.name=p", Ok(true)),
        ("", "pods", &pod, "metadata.name==q", Ok(false)),
        ("", "pods", &pod, "spec.nodeName!=n1", Ok(false)),
        ("", "pods", &pod, "status.podIP=", Ok(true)),
        ("", "pods", &pod, "status.podIPs=x", Ok(false)),
        ("", "pods", &pod, "spec.hostNetwork=false", Ok(true)),
        (
            "",
            "pods",
            &pod,
            "metadata.name=p,spec.nodeName=n1",
            Ok(true),
        ),
        (
            "",
            "pods",
            &pod,
            "spec.foo=x",
            Err("field label not supported: spec.foo"),
        ),
        ("", "pods", &pod, "=x", Err("field label not supported: ")),
        (
            "",
            "events",
            &event,
            "involvedObject.kind=Pod,involvedObject.name=p,source=k",
            Ok(true),
        ),
        (
            "",
            "events",
            &event,
            "reportingController=x",
            Err("field label not supported: reportingController"),
        ),
        (
            "events.k8s.io",
            "events",
            &event,
            "regarding.name=p",
            Ok(true),
        ),
        (
            "events.k8s.io",
            "events",
            &event,
            "involvedObject.name=p",
            Err("field label not supported: involvedObject.name"),
        ),
        ("batch", "jobs", &pod, "status.successful=0", Ok(true)),
        (
            "batch",
            "jobs",
            &pod,
            "status.phase=x",
            Err("field label \"status.phase\" not supported for Job"),
        ),
        (
            "",
            "configmaps",
            &pod,
            "data=x",
            Err(
                "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
        ),
    ];
    for (group, plural, object, text, wanted) in table {
        let resource = Table::builtin()
            .lookup(group, "v1", plural)
            .expect("built in");
        let selector = FieldSelector::parse(text).expect(text);
        let got = selector.compile(resource, &[]).map(|s| s.matches(object));
        assert_eq!(
            got.map_err(|e| e.to_string()),
            wanted.map_err(str::to_owned),
            "{text}"
        );
    }
    for text in ["metadata.name", "spec.nodeName in (n1)"] {
        let wanted = format!("invalid selector: '{text}'; can't understand '{text}'");
        assert_eq!(
            FieldSelector::parse(text).expect_err(text).to_string(),
            wanted
        );
    }
}
