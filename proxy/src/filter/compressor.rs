//! Compression of responses (`envoy.filters.http.compressor`): which encoding the client likes best, and whether the response may be
//! compressed at all. Several filters, one an encoding, decide together.

mod encoder;

use std::sync::Arc;

use carbyne_engine::forward::Exchange;
use carbyne_engine::http::{Body, Headers};
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::extensions::compression as libraries;
use carbyne_protos::envoy::extensions::filters::http::compressor::v3 as wire;
use http::{HeaderValue, header};

use self::encoder::Compressed;
use crate::context::Context;
use crate::live::matcher::StringMatcher;
use crate::plan::filter::decode;
use crate::plan::matcher;
use crate::plan::scope::Scope;
use crate::plan::value;

/// A planned compressor.
#[derive(Clone, Debug)]
pub struct Compressor {
    library: Library,
    enabled: bool,
    min_content_length: u64,
    content_types: Vec<String>,
    content_type_matchers: Vec<StringMatcher>,
    disable_on_etag: bool,
    weaken_etag: bool,
    remove_accept_encoding: bool,
    uncompressible: Vec<u16>,
    choose_first: bool,
}

/// How it compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// `br`
    Brotli { quality: u32, window_bits: u32 },
    /// `gzip`
    Gzip { level: u32 },
    /// `zstd`
    Zstd { level: i32, checksum: bool },
}

/// A compressor among those of its chain.
#[derive(Debug)]
pub struct CompressorFilter {
    /// Those of the chain, in order.
    all: Arc<[Compressor]>,
    /// Which of them this is.
    index: usize,
}

impl Compressor {
    /// Reads the message; nothing where its library is not served, which compresses nothing.
    pub fn plan(message: &wire::Compressor, scope: &Scope<'_>) -> Option<Self> {
        if message.request_direction_config.is_some() {
            scope
                .field("request_direction_config")
                .note("requests are not compressed");
        }
        let library = Library::plan(message, scope);
        let response = message.response_direction_config.as_ref();
        let response_scope = scope.field("response_direction_config");
        let common = response.and_then(|response| response.common_config.as_ref());
        let common_scope = response_scope.field("common_config");
        // Without the newer field the older ones at the top hold.
        let (enabled, length, types) = match common {
            Some(common) => (
                &common.enabled,
                common.min_content_length,
                &common.content_type,
            ),
            None => (
                &message.runtime_enabled,
                message.content_length,
                &message.content_type,
            ),
        };
        let matchers = common
            .iter()
            .flat_map(|common| &common.content_type_matcher)
            .enumerate();
        let content_type_matchers = matchers
            .filter_map(|(index, wanted)| {
                matcher::string(wanted, &common_scope.item("content_type_matcher", index))
            })
            .collect();
        Some(Self {
            library: library?,
            enabled: enabled
                .as_ref()
                .and_then(|flag| flag.default_value)
                .unwrap_or(true),
            min_content_length: u64::from(length.filter(|length| *length > 0).unwrap_or(30)),
            content_types: if types.is_empty() {
                CONTENT_TYPES
                    .iter()
                    .map(|kind| (*kind).to_owned())
                    .collect()
            } else {
                types.iter().map(|kind| kind.to_ascii_lowercase()).collect()
            },
            content_type_matchers,
            disable_on_etag: response.map_or(message.disable_on_etag_header, |response| {
                response.disable_on_etag_header
            }),
            weaken_etag: response.is_some_and(|response| response.weaken_etag_on_compress),
            remove_accept_encoding: response
                .map_or(message.remove_accept_encoding_header, |response| {
                    response.remove_accept_encoding_header
                }),
            uncompressible: response
                .iter()
                .flat_map(|response| &response.uncompressible_response_codes)
                .filter_map(|code| u16::try_from(*code).ok())
                .collect(),
            choose_first: message.choose_first,
        })
    }

    fn takes_type(&self, content_type: Option<&str>) -> bool {
        let Some(content_type) = content_type else {
            return true;
        };
        let known = |known: &String| known.eq_ignore_ascii_case(content_type);
        let met = |matcher: &StringMatcher| matcher.matches(content_type.as_bytes());
        self.content_types.iter().any(known) || self.content_type_matchers.iter().any(met)
    }

    /// Whether the response may be compressed, if the client wants it.
    fn may(&self, status: u16, headers: &Headers) -> bool {
        let no_transform = headers
            .all(&header::CACHE_CONTROL)
            .any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case("no-transform")));
        let etag_forbids = self.disable_on_etag && headers.contains(&header::ETAG);
        self.is_long_enough(headers)
            && self.takes_type(content_type(headers))
            && !no_transform
            && !etag_forbids
            && !headers.contains(&header::CONTENT_ENCODING)
            && !headers.contains(&header::UPGRADE)
            && !self.uncompressible.contains(&status)
    }

    fn is_long_enough(&self, headers: &Headers) -> bool {
        let length = headers.text(&header::CONTENT_LENGTH);
        // A body of unknown length may be long.
        length.is_none_or(|length| {
            length
                .parse::<u64>()
                .is_ok_and(|length| length >= self.min_content_length)
        })
    }
}

impl Library {
    fn plan(message: &wire::Compressor, scope: &Scope<'_>) -> Option<Self> {
        use libraries::brotli::compressor::v3::Brotli;
        use libraries::gzip::compressor::v3::Gzip;
        use libraries::gzip::compressor::v3::gzip::CompressionLevel;
        use libraries::zstd::compressor::v3::Zstd;
        let scope = scope.field("compressor_library");
        let Some(config) = message
            .compressor_library
            .as_ref()
            .and_then(|library| library.typed_config.as_ref())
        else {
            scope.field("typed_config").missing();
            return None;
        };
        let scope = scope.field("typed_config");
        let Ok(unwrapped) = Unwrapped::of(config) else {
            scope.note("its message cannot be read");
            return None;
        };
        let number = |value: Option<u32>, range, words, default, name| {
            value::within(value, range, words, default, &scope.field(name))
        };
        if unwrapped.is::<Brotli>() {
            let library = decode::<Brotli>(&unwrapped, &scope)?;
            Some(Self::Brotli {
                quality: number(
                    library.quality,
                    0..=11,
                    "a quality from 0 to 11",
                    3,
                    "quality",
                ),
                window_bits: number(
                    library.window_bits,
                    10..=24,
                    "a number from 10 to 24",
                    18,
                    "window_bits",
                ),
            })
        } else if unwrapped.is::<Gzip>() {
            let library = decode::<Gzip>(&unwrapped, &scope)?;
            let level = match CompressionLevel::try_from(library.compression_level) {
                Ok(CompressionLevel::DefaultCompression) => 6,
                Ok(level) => level as u32,
                Err(_) => {
                    scope
                        .field("compression_level")
                        .out_of_range(library.compression_level, "a level (0 to 9)");
                    6
                }
            };
            Some(Self::Gzip { level })
        } else if unwrapped.is::<Zstd>() {
            let library = decode::<Zstd>(&unwrapped, &scope)?;
            let level = number(
                library.compression_level,
                1..=22,
                "a level from 1 to 22",
                3,
                "compression_level",
            );
            Some(Self::Zstd {
                level: i32::try_from(level).unwrap_or(3),
                checksum: library.enable_checksum,
            })
        } else {
            scope.note(format!("{} is not served", unwrapped.type_name));
            None
        }
    }

    const fn encoding(self) -> &'static str {
        match self {
            Self::Brotli { .. } => "br",
            Self::Gzip { .. } => "gzip",
            Self::Zstd { .. } => "zstd",
        }
    }
}

impl CompressorFilter {
    /// Number `index` of the compressors of a chain.
    pub const fn new(all: Arc<[Compressor]>, index: usize) -> Self {
        Self { all, index }
    }

    fn own(&self) -> &Compressor {
        &self.all[self.index]
    }

    /// Keeps what the client accepts, before a route or a filter changes it.
    pub fn request(&self, exchange: &mut Exchange<Context>) {
        let headers = &mut exchange.request.headers;
        if exchange.context.accept_encoding.is_none() {
            let values: Vec<&[u8]> = headers
                .all(&header::ACCEPT_ENCODING)
                .map(HeaderValue::as_bytes)
                .collect();
            if !values.is_empty() {
                exchange.context.accept_encoding =
                    HeaderValue::from_bytes(&values.join(&b","[..])).ok();
            }
        }
        let own = self.own();
        if own.enabled && own.remove_accept_encoding {
            headers.remove(&header::ACCEPT_ENCODING);
        }
    }

    /// Compresses the response, if that is what the client wants of this filter.
    pub fn response(&self, exchange: &mut Exchange<Context>) {
        let own = self.own();
        let Some(response) = &mut exchange.response else {
            return;
        };
        if !own.enabled || !own.may(response.status.as_u16(), &response.headers) {
            return;
        }
        let accepted = exchange.context.accept_encoding.as_ref();
        let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
        let wanted = accepted.is_some_and(|accepted| {
            let kind = content_type(&response.headers);
            choose(accepted, kind, &self.all) == Some(own.library.encoding())
        });
        // A cache must know that there are other forms, also where this client gets the plain one.
        vary(&mut response.headers);
        if !wanted || exchange.response_body.is_end() {
            return;
        }
        let Ok(compressed) = Compressed::new(&own.library) else {
            return;
        };
        let body = std::mem::take(&mut exchange.response_body);
        exchange.response_body = Body::custom(Box::new(compressed.over(body)));
        etag(&mut response.headers, own.weaken_etag);
        response.headers.remove(&header::CONTENT_LENGTH);
        response.headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static(own.library.encoding()),
        );
    }
}

/// The encoding with the highest weight that a compressor of the chain makes; nothing for the plain form.
fn choose(accepted: &str, content_type: Option<&str>, all: &[Compressor]) -> Option<&'static str> {
    let mut offered: Vec<(&'static str, bool)> = Vec::new();
    for compressor in all {
        let encoding = compressor.library.encoding();
        let known = offered.iter().any(|(known, _)| *known == encoding);
        if !known && compressor.takes_type(content_type) {
            offered.push((encoding, compressor.choose_first));
        }
    }
    let mut wishes: Vec<(&str, f32)> = Vec::new();
    for item in accepted.split(',') {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let weight = parts.next().and_then(|weight| {
            let (key, value) = weight.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("q")
                .then(|| value.trim().parse::<f32>())
        });
        let weight = match weight {
            None => 1.0,
            Some(Ok(weight)) => weight,
            // One that cannot be read counts as not said.
            Some(Err(_)) => continue,
        };
        if name.is_empty() {
            continue;
        }
        wishes.push((name, weight));
        if weight == 0.0 {
            offered.retain(|(encoding, _)| *encoding != name);
        }
    }
    let first = offered
        .iter()
        .rev()
        .find(|(_, first)| *first)
        .map(|(name, _)| *name);
    let mut best: Option<(&str, f32)> = None;
    for (name, weight) in wishes {
        let possible = name == "identity"
            || name == "*"
            || offered.iter().any(|(encoding, _)| *encoding == name);
        let better = best.map_or(weight > 0.0, |(_, held)| {
            weight > held || weight == held && Some(name) == first
        });
        if possible && better {
            best = Some((name, weight));
        }
    }
    match best?.0 {
        "identity" => None,
        "*" => first.or_else(|| offered.first().map(|(encoding, _)| *encoding)),
        name => offered
            .iter()
            .find(|(encoding, _)| *encoding == name)
            .map(|(encoding, _)| *encoding),
    }
}

fn content_type(headers: &Headers) -> Option<&str> {
    let value = headers.text(&header::CONTENT_TYPE)?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// Says that the response depends on `accept-encoding`.
fn vary(headers: &mut Headers) {
    let known = headers
        .all(&header::VARY)
        .any(|value| tokens(value).any(|token| token.eq_ignore_ascii_case("accept-encoding")));
    if known {
        return;
    }
    let value = match headers.text(&header::VARY) {
        Some(held) if !held.is_empty() => {
            HeaderValue::from_str(&format!("{held}, Accept-Encoding"))
        }
        _ => Ok(HeaderValue::from_static("Accept-Encoding")),
    };
    // What was a field's value stays one with more visible characters.
    if let Ok(value) = value {
        headers.insert(header::VARY, value);
    }
}

/// A strong entity tag names the bytes, which are others now: it goes, or becomes a weak one.
fn etag(headers: &mut Headers, weaken: bool) {
    let Some(tag) = headers.text(&header::ETAG) else {
        return;
    };
    if tag.len() > 2 && tag[..2].eq_ignore_ascii_case("w/") {
        return;
    }
    let weak = weaken.then(|| HeaderValue::from_str(&format!("W/{tag}")));
    match weak {
        Some(Ok(weak)) => headers.insert(header::ETAG, weak),
        _ => drop(headers.remove(&header::ETAG)),
    }
}

/// What is compressed where nothing else is said.
const CONTENT_TYPES: [&str; 18] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
];

#[cfg(test)]
mod tests;
