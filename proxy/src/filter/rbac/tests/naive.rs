//! Any rules against the simplest possible reading of them.

use carbyne_protos::envoy::config::rbac::v3::{self as wire, permission};
use carbyne_protos::envoy::extensions::filters::http::rbac::v3::Rbac;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::*;
use crate::filter::testing::{exchange, request};
use crate::plan::Environment;
use crate::plan::scope::Room;

/// What a permission says, written down as simply as possible: `grants` says whether a match helps the request through.
fn naive(rule: &wire::Permission, sent: &[(usize, u8)], grants: bool) -> bool {
    match rule.rule.as_ref().unwrap() {
        permission::Rule::AndRules(set) => set.rules.iter().all(|rule| naive(rule, sent, grants)),
        permission::Rule::OrRules(set) => set.rules.iter().any(|rule| naive(rule, sent, grants)),
        permission::Rule::NotRule(rule) => !naive(rule, sent, !grants),
        permission::Rule::Any(_) => true,
        permission::Rule::DestinationPort(port) => *port == 8080,
        permission::Rule::Header(header) => {
            let name: usize = header.name.strip_prefix("x-").unwrap().parse().unwrap();
            let values: Vec<u8> = sent
                .iter()
                .filter(|(field, _)| *field == name)
                .map(|(_, value)| *value)
                .collect();
            let Some(carbyne_protos::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier::ExactMatch(wanted)) = &header.header_match_specifier else {
                return (values.is_empty()) == header.invert_match;
            };
            let wanted: u8 = wanted.parse().unwrap();
            let meets = |value: &u8| (*value == wanted) != header.invert_match;
            !values.is_empty()
                && if grants {
                    values.iter().all(meets)
                } else {
                    values.iter().any(meets)
                }
        }
        other => panic!("{other:?}"),
    }
}

fn rules() -> impl Strategy<Value = wire::Permission> {
    use carbyne_protos::envoy::config::route::v3::HeaderMatcher;
    use carbyne_protos::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
    let wrap = |rule| wire::Permission { rule: Some(rule) };
    let header = (0_usize..3, prop::option::of(0_u8..3), any::<bool>()).prop_map(
        move |(name, value, invert)| {
            wrap(permission::Rule::Header(HeaderMatcher {
                name: format!("x-{name}"),
                invert_match: invert,
                treat_missing_header_as_empty: false,
                header_match_specifier: value
                    .map(|value| HeaderMatchSpecifier::ExactMatch(value.to_string())),
            }))
        },
    );
    let leaf = prop_oneof![
        1 => Just(wrap(permission::Rule::Any(true))),
        1 => prop::sample::select(vec![8080_u32, 9]).prop_map(move |port| wrap(permission::Rule::DestinationPort(port))),
        6 => header,
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let set =
            prop::collection::vec(inner.clone(), 1..4).prop_map(|rules| permission::Set { rules });
        prop_oneof![
            set.clone()
                .prop_map(move |set| wrap(permission::Rule::AndRules(set))),
            set.prop_map(move |set| wrap(permission::Rule::OrRules(set))),
            inner.prop_map(move |rule| wrap(permission::Rule::NotRule(Box::new(rule)))),
        ]
    })
}

proptest! {
    /// Any tree of conditions, any action, any repeated fields: what the compiled rules say is what the naive reading says.
    #[test]
    fn agrees_with_the_naive_reading(
        policies in prop::collection::vec(prop::collection::vec(rules(), 1..3), 0..4),
        deny in any::<bool>(),
        sent in prop::collection::vec((0_usize..3, 0_u8..3), 0..5),
    ) {
        let message = Rbac {
            rules: Some(wire::Rbac {
                action: i32::from(deny),
                policies: policies.iter().enumerate().map(|(index, permissions)| (format!("p{index}"), wire::Policy {
                    permissions: permissions.clone(),
                    principals: vec![wire::Principal { identifier: Some(wire::principal::Identifier::Any(true)) }],
                    ..wire::Policy::default()
                })).collect(),
                ..wire::Rbac::default()
            }),
            ..Rbac::default()
        };
        let environment = Environment::default();
        let room = Room::new(&environment, Vec::new());
        let Some(Planned::Serves(filter)) = RbacFilter::plan(&message, &room.scope()) else { panic!("not served") };
        let mut request = request("GET", "/", &[]);
        for (name, value) in &sent {
            let name = HeaderName::try_from(format!("x-{name}")).unwrap();
            request.headers.append(name, HeaderValue::try_from(value.to_string()).unwrap());
        }
        let mut exchange = exchange(request);
        let found = filter.request(&mut exchange, None);
        let matched = policies.iter().position(|permissions| permissions.iter().any(|rule| naive(rule, &sent, !deny)));
        prop_assert_eq!(found.is_ok(), matched.is_some() != deny);
        if let (Err(answer), Some(index)) = (found, matched) {
            let expected = format!("rbac_access_denied_matched_policy[p{index}]");
            prop_assert_eq!(answer.details.as_ref(), expected.as_str());
        }
    }
}
