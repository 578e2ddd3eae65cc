//! Wire → plan: validated, typed, defaults filled. The only room that may refuse, with a path, all errors
//! at once.
