//! | file | what it proves |
//! |---|---|
//! | [`signing`] | keys of every kind, and tokens by them |
//! | [`algorithms`] | every algorithm, and every way to cheat with one |
//! | [`words`] | what is answered, against what Envoy 1.40 answers |
//! | [`fetching`] | keys that are fetched |

mod algorithms;
mod fetching;
mod signing;
mod words;
