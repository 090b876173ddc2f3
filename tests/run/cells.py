"""Variants of the real cells, made with h5py."""
from support import CELLS, h5py, np


def rewrite(path, rows=None, empty=(), columns=None, first=0):
    """A copy with `rows` cells from `first` on, without the counts of the rows in `empty`, and with more obs columns.

    columns: name to a list of level numbers, one for each cell, or one number for all.
    """
    with h5py.File(CELLS) as old, h5py.File(path, "w") as new:
        for name in ("obs", "var"):
            old.copy(name, new)
        new.attrs.update(old.attrs.items())
        genes = old["X"].attrs["shape"][1]
        starts = old["X/indptr"][first:]
        rows = len(starts) - 1 if rows is None else rows
        values, starts = slice(starts[0], starts[rows]), starts - starts[0]
        kept = np.ones(starts[rows], bool)
        for i in empty:
            kept[starts[i]:starts[i + 1]] = False
        sizes = np.array([kept[starts[i]:starts[i + 1]].sum() for i in range(rows)])
        matrix = new.create_group("X")
        matrix.attrs.update(old["X"].attrs.items())
        matrix.attrs["shape"] = np.array([rows, genes])
        matrix["indptr"] = np.concatenate([[0], np.cumsum(sizes)]).astype(starts.dtype)
        for name in ("indices", "data"):
            matrix[name] = old[f"X/{name}"][values][kept]
        replace(new["obs"], "_index", new["obs/_index"][first:first + rows])
        for key in ("batch", "cell_type", "condition"):
            replace(new[f"obs/{key}"], "codes", new[f"obs/{key}/codes"][first:first + rows])
        for key, codes in (columns or {}).items():
            new.copy("obs/batch", new["obs"], key)
            codes = np.broadcast_to(np.asarray(codes, np.int8), rows)
            replace(new[f"obs/{key}"], "codes", codes)
            replace(new[f"obs/{key}"], "categories", np.array([f"level{i}" for i in range(codes.max() + 1)], object))
    return path


def counts():
    """Of all cells, dense, and the names of the genes."""
    with h5py.File(CELLS) as f:
        starts, shape = f["X/indptr"][()], f["X"].attrs["shape"]
        found = np.zeros(shape)
        found[np.repeat(np.arange(shape[0]), np.diff(starts)), f["X/indices"][()]] = f["X/data"][()]
        return found, list(f["var/_index"].asstr()[()])


def replace(group, name, values):
    """Another array under the same name, with the attributes of the old one."""
    attributes, kind = dict(group[name].attrs), group[name].dtype
    del group[name]
    group.create_dataset(name, data=values, dtype=kind).attrs.update(attributes)
