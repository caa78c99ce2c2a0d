"""The sketch world: models without torch, weights or a GPU, for demos and tests.

This is a small closed world, not a model of reality. A hundred-odd pictograms stand for objects; captions are understood
as far as they name one of them; pictures are pictograms on a painted background. The editor and the generator know what
they made, and say so as `truth` beside the record. The encoder, segmenter, matcher and describers measure pixels and
read texts only: they never see the scene or its truth, so a filter that fires here fires for what is in the picture.
Editor, generator and describers make seeded mistakes at low rates, each of a kind that one filter of the chain is there
to catch (`truth.Defect`). Nothing made here is training data, and it never stands in for a model that failed to load.

The pictograms are Font Awesome Free (package `fontawesomefree`): icons CC BY 4.0, font SIL OFL 1.1.
"""
