//! Which tokens a request must have.

use std::collections::BTreeMap;

use carbyne_engine::http::Request;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::JwtRequirement;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;

use super::extract::Found;
use super::provider::{Audiences, Effects, Provider};
use super::status::Failure;
use super::token::Token;
use crate::filter::planned::Doubts;
use crate::plan::scope::Scope;

/// A compiled requirement; providers by their number.
#[derive(Clone, Debug)]
pub(super) enum Requirement {
    All(Box<[Self]>),
    /// One of these; what allows a missing token comes last.
    AnyOf(Box<[Self]>),
    /// Tokens of these providers are verified if there are any; with `failed` bad ones pass too.
    Optional {
        providers: Box<[usize]>,
        failed: bool,
    },
    Provider {
        provider: usize,
        audiences: Option<Audiences>,
    },
    /// Nothing.
    Nothing,
}

/// What a requirement is judged with.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) providers: &'a [Provider],
    pub(super) request: &'a mut Request,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) effects: Effects,
}

impl Requirement {
    /// `numbers` has the providers by name.
    pub(super) fn read(
        message: &JwtRequirement,
        numbers: &BTreeMap<&str, usize>,
        scope: &Scope<'_>,
        doubts: &Doubts,
    ) -> Option<Self> {
        Self::read_beside(message, numbers, &[], scope, doubts)
    }

    fn read_beside(
        message: &JwtRequirement,
        numbers: &BTreeMap<&str, usize>,
        beside: &[usize],
        scope: &Scope<'_>,
        doubts: &Doubts,
    ) -> Option<Self> {
        let number = |name: &str, scope: &Scope<'_>| {
            let number = numbers.get(name).copied();
            if number.is_none() {
                scope.out_of_range(format_args!("`{name}`"), "the name of a provider");
            }
            number
        };
        // Alone it is about all providers, in a list about those beside it.
        let optional = |failed| Self::Optional {
            providers: if beside.is_empty() {
                numbers.values().copied().collect()
            } else {
                beside.into()
            },
            failed,
        };
        Some(match &message.requires_type {
            None => Self::Nothing,
            Some(RequiresType::ProviderName(name)) => Self::Provider {
                provider: number(name, &scope.field("provider_name"))?,
                audiences: None,
            },
            Some(RequiresType::ProviderAndAudiences(with)) => {
                let audiences = Audiences::new(&with.audiences);
                Self::Provider {
                    provider: number(
                        &with.provider_name,
                        &scope.field("provider_and_audiences").field("provider_name"),
                    )?,
                    audiences: (!audiences.is_empty()).then_some(audiences),
                }
            }
            Some(RequiresType::RequiresAll(list)) => {
                let scope = scope.field("requires_all");
                let read = list.requirements.iter().enumerate();
                let read = read.map(|(index, requirement)| {
                    Self::read(
                        requirement,
                        numbers,
                        &scope.item("requirements", index),
                        doubts,
                    )
                });
                Self::All(several(read.collect::<Option<_>>()?, &scope)?)
            }
            Some(RequiresType::RequiresAny(list)) => {
                let scope = scope.field("requires_any");
                let beside: Vec<usize> = list
                    .requirements
                    .iter()
                    .filter_map(|requirement| {
                        named(requirement).and_then(|name| numbers.get(name).copied())
                    })
                    .collect();
                let mut read = Vec::new();
                for (index, requirement) in list.requirements.iter().enumerate() {
                    read.push(Self::read_beside(
                        requirement,
                        numbers,
                        &beside,
                        &scope.item("requirements", index),
                        doubts,
                    )?);
                }
                read.sort_by_key(|requirement| match requirement {
                    Self::Optional { failed, .. } => 1 + u8::from(*failed),
                    _ => 0,
                });
                Self::AnyOf(several(read, &scope)?)
            }
            Some(RequiresType::AllowMissing(())) => optional(false),
            Some(RequiresType::AllowMissingOrFailed(())) => optional(true),
            Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
                doubts.add(
                    &scope.field("extract_only_without_validation"),
                    "tokens are never read without verification",
                );
                return None;
            }
        })
    }

    /// Calls `each` with every provider that it speaks of.
    pub(super) fn visit(&self, each: &mut impl FnMut(usize)) {
        match self {
            Self::All(list) | Self::AnyOf(list) => {
                list.iter().for_each(|requirement| requirement.visit(each))
            }
            Self::Optional { providers, .. } => providers.iter().copied().for_each(each),
            Self::Provider { provider, .. } => each(*provider),
            Self::Nothing => {}
        }
    }

    pub(super) fn verify(&self, judge: &mut Judge<'_>) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::All(list) => list
                .iter()
                .try_for_each(|requirement| requirement.verify(judge)),
            Self::AnyOf(list) => {
                let mut failure = Failure::Missing;
                for requirement in list {
                    match requirement.verify(judge) {
                        Ok(()) => return Ok(()),
                        // What is wrong with a token tells more than that it is another provider's.
                        Err(new) if !new.is_weak() || failure.is_weak() => failure = new,
                        Err(_) => {}
                    }
                }
                Err(failure)
            }
            Self::Provider {
                provider,
                audiences,
            } => judge.provider(&judge.providers[*provider], audiences.as_ref()),
            Self::Optional { providers, failed } => judge.optional(providers, *failed),
        }
    }
}

impl Judge<'_> {
    /// Every token in the provider's places must be good: a bad one beside a good one might be the one that the host believes.
    fn provider(
        &mut self,
        provider: &Provider,
        audiences: Option<&Audiences>,
    ) -> Result<(), Failure> {
        let mut found = Vec::new();
        provider.places.find(self.request, &mut found);
        if found.is_empty() {
            return Err(Failure::Missing);
        }
        for place in found.iter().rev() {
            let result = self.token(place, provider, audiences);
            if let Err(failure) = result {
                provider.note(failure, &mut self.effects);
                return Err(failure);
            }
        }
        Ok(())
    }

    fn token(
        &mut self,
        found: &Found,
        provider: &Provider,
        audiences: Option<&Audiences>,
    ) -> Result<(), Failure> {
        let token = Token::parse(&found.token)?;
        provider.check(&token, audiences, self.now)?;
        provider.accept(token, found, self.request, &mut self.effects);
        Ok(())
    }

    /// Tokens in the places of several providers; each is its issuer's, or that of a provider that takes any.
    fn optional(&mut self, numbers: &[usize], failed: bool) -> Result<(), Failure> {
        let providers = self.providers;
        let mut places: Vec<Found> = Vec::new();
        for number in numbers {
            providers[*number].places.find(self.request, &mut places);
        }
        for found in places.iter().rev() {
            let issuer = Token::parse(&found.token).map(|token| token.issuer);
            let result = issuer.and_then(|issuer| {
                let own = |provider: &&Provider| provider.issuer.as_deref() == Some(&*issuer);
                let candidates = || numbers.iter().map(|number| &providers[*number]);
                let provider = candidates()
                    .find(own)
                    .or_else(|| candidates().find(|provider| provider.issuer.is_none()));
                let provider = provider.ok_or(Failure::IssuerUnknown)?;
                let result = self.token(found, provider, None);
                if let Err(failure) = result {
                    provider.note(failure, &mut self.effects);
                }
                result
            });
            if result.is_err() && !failed {
                return result;
            }
        }
        Ok(())
    }
}

fn named(requirement: &JwtRequirement) -> Option<&str> {
    match &requirement.requires_type {
        Some(RequiresType::ProviderName(name)) => Some(name),
        Some(RequiresType::ProviderAndAudiences(with)) => Some(&with.provider_name),
        _ => None,
    }
}

fn several(list: Vec<Requirement>, scope: &Scope<'_>) -> Option<Box<[Requirement]>> {
    if list.len() < 2 {
        scope.field("requirements").out_of_range(
            format_args!("a list of {}", list.len()),
            "a list of at least two",
        );
        return None;
    }
    Some(list.into())
}
