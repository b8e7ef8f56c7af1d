//! How prompts pass from prefill to decode workers, as far as files can say it.

/// Knobs that [`gaps`] looks at.
pub(super) fn is_expressed(knob: &str) -> bool {
    knob.starts_with("transfer.") || knob.starts_with("decode.local_prefill_") || knob == "router.decode_policy"
}

/// What files do not say about the hand-off of a candidate with these knobs.
pub(super) fn gaps(knobs: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| knobs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let listed = |prefix: &str| {
        let of_kind = knobs.iter().filter(|(name, _)| name.starts_with(prefix));
        of_kind.map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
    };
    let mut gaps = Vec::new();
    if value("decode.local_prefill_tokens").is_some_and(|tokens| tokens != "0") {
        gaps.push(format!("{}: these files send every prompt to a prefill worker", listed("decode.local_prefill_")));
    }
    if value("router.decode_policy").is_some_and(|policy| Some(policy) != value("router.policy")) {
        gaps.push(format!(
            "{}: Dynamo's frontend has one mode for prefill and decode workers",
            listed("router.decode_policy")
        ));
    }
    let transfer = listed("transfer.");
    if !transfer.is_empty() {
        gaps.push(format!("{transfer}: properties of the network, not settings"));
    }
    gaps
}
