"""The store of pictures, looked after: what nobody refers to any more is removed."""
