use super::*;

fn pod_spec() -> Type<'static> {
    Schema::builtin()
        .kind("", "v1", "Pod")
        .expect("Pod is built in")
        .descend(&["spec"])
        .expect("spec")
}

#[test]
fn every_served_kind_has_a_type() {
    for resource in crate::resource::Table::builtin().resources() {
        let kind = Schema::builtin().kind(&resource.group, &resource.version, &resource.kind);
        assert!(kind.is_some(), "{}", resource.gvk());
        for sub in resource
            .subresources
            .iter()
            .filter(|s| !s.kind.kind.ends_with("Options"))
        {
            assert!(
                Schema::builtin()
                    .kind(&sub.kind.group, &sub.kind.version, &sub.kind.kind)
                    .is_some(),
                "{}",
                sub.kind
            );
        }
    }
}

#[test]
fn fields_know_types_keys_and_strategies() {
    let container = pod_spec()
        .descend(&["containers"])
        .and_then(Type::element)
        .expect("containers");
    let (ports, ty) = container.field("ports").expect("ports");
    assert_eq!(ty.go_name(), "[]v1.ContainerPort");
    assert_eq!(
        ports.extra().topology,
        Some(Topology::Map(vec![
            "containerPort".into(),
            "protocol".into()
        ]))
    );
    assert_eq!(ports.extra().strategy.key.as_deref(), Some("containerPort"));
    let protocol = ty.descend(&["protocol"]).expect("protocol");
    assert_eq!(protocol.go_name(), "v1.Protocol");
    assert!(matches!(protocol.shape(), Shape::Scalar(Scalar::String)));
    let (volumes, _) = pod_spec().field("volumes").expect("volumes");
    assert!(volumes.extra().strategy.merge && volumes.extra().strategy.retain_keys);
}

#[test]
fn embedded_structs_lend_their_fields() {
    let volume = pod_spec()
        .descend(&["volumes"])
        .and_then(Type::element)
        .expect("volumes");
    let (config_map, _) = volume
        .field("configMap")
        .expect("a member of the embedded source");
    assert!(!config_map.in_message() && config_map.pointer());
    assert_eq!(
        volume
            .embedded()
            .map(|(number, _)| number)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn options_and_statuses_belong_to_every_group() {
    let schema = Schema::builtin();
    assert_eq!(
        schema.kind("apps", "v1", "DeleteOptions"),
        schema.kind("", "v1", "DeleteOptions")
    );
    assert!(schema.kind("apps", "v1", "Pod").is_none());
}
