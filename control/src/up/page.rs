//! The page: what runs, on one loopback address, to be looked at with a browser.
//!
//! | file | what it does |
//! |---|---|
//! | [`serve`] | answers: the page's files, its state as JSON, once and as server-sent events |
//! | [`observe`] | asks sidecars, gateway and spool, and makes the state |
//! | [`state`] | the state |
//! | [`traffic`] | the service graph with the gateway's clients in it |
//! | [`routes`] | the gateway's routes with their plugins |
//! | [`events`] | the tail of the spool |
//! | `index.html`, `page.css`, `page.js` | the page itself; no build step, nothing from elsewhere |

pub mod events;
pub mod observe;
pub mod routes;
pub mod serve;
pub mod state;
pub mod traffic;
