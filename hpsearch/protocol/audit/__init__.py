"""Faults of a dataset: every one is a finding, and a search refuses those that are errors.

Answers: is a dataset fit for a search?

| check              | error when                                           | warning when         |
|--------------------|------------------------------------------------------|----------------------|
| unreadable         | an image cannot be read                              |                      |
| empty class        | no normals or no anomalies, in all or to test on     |                      |
| tiny class         |                                                      | fewer than 10 images |
| labelled budget    | fewer anomalies or types than asked for              | only some draws fit  |
| group leak         | a group lies in train and in test                    |                      |
| few groups         | too few groups of training normals for the folds     |                      |
| uneven folds       |                                                      | one trains on < half |
| early stopping     |                                                      | takes > 40 % of one  |
| shared group       |                                                      | normals, anomalies   |
| split group        |                                                      | the user asks for it |
| two roles          | one file is in both splits or has two labels         |                      |
| fold leak          | fold files score what they train on                  | the user allows it   |
| validation is test | what the search is scored on is what it is tested on |                      |
| same pixels        | in train and in test, or with two labels             | in two groups        |
| near-duplicate     |                                                      | in two splits/groups |
| blank              |                                                      | images of one value  |
| mixed sizes, modes |                                                      | there are several    |
| further frames     |                                                      | only the first read  |
| mask               |                                                      | it does not fit      |
| not square         |                                                      | crops lose a part    |
| cropped away       |                                                      | ... all that is bad  |

Near-duplicates are warnings because a look cannot tell a saved copy from a second photograph: of
the pairs of photographs of one object under other lamps in the magnetic tile set a third pass for
copies, and a fixed camera may take pictures as alike of different objects.
"""

__all__ = ["audit"]
