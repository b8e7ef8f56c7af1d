//! Geometry of objective vectors: dominance, exact hypervolume, crowding.
