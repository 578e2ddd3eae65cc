//! What can break, one file each, and what the files share.

mod captured;
mod contradictions;
mod descriptors;
mod disk;
mod end;
mod guards;
mod load;
mod mesh;
mod plane;
mod relay;
mod resets;
mod slice;
mod streams;
mod updates;
