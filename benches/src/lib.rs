//! Placeholder map, replaced when the room is furnished.
