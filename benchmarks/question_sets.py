"""Made for benchmarks/question_similarity.py: questions about a lesion's image, each with the same in other words.

`edited` differ from the first in little: order, an article, a synonym, punctuation. `reworded` say the same otherwise.
Questions of different sets ask for different things.
"""

from typing import NamedTuple


class Question(NamedTuple):
    """One thing that is asked, in several ways."""

    first: str
    edited: tuple[str, ...]
    reworded: tuple[str, ...]


QUESTIONS = (
    Question(
        "What is the shape of the lesion?",
        ("What's the shape of the lesion?", "What is the shape of this lesion?", "What is the lesion's shape?"),
        ("Is it round, oval or irregular in outline?", "How would you describe the lesion's form?"),
    ),
    Question(
        "Which colours are visible in the lesion?",
        ("Which colors are visible in the lesion?", "Which colours are seen in the lesion?",
         "Which colours are visible within this lesion?"),
        ("Name all shades that you can make out in this mole.", "What colouring does the lesion show?"),
    ),
    Question(
        "Is the border of the lesion sharp or blurred?",
        ("Is the border of the lesion blurred or sharp?", "Is the lesion's border sharp or blurred?",
         "Is the border of this lesion sharp or is it blurred?"),
        ("Does the edge fade into the skin or end abruptly?", "How well is the lesion demarcated?"),
    ),
    Question(
        "Is there any hair in the image?",
        ("Is there hair in the image?", "Are there any hairs in the image?", "Is any hair seen in the image?"),
        ("Do strands cover a part of the picture?", "Can you spot hairs?"),
    ),
    Question(
        "Is the lesion symmetric along both axes?",
        ("Is this lesion symmetric along both axes?", "Is the lesion symmetrical along both of its axes?",
         "Is the lesion symmetric along both its axes?"),
        ("Do the two halves mirror each other, horizontally and vertically?",
         "If you folded it in the middle, would the halves match?"),
    ),
    Question(
        "Can a pigment network be recognised?",
        ("Can a pigment network be recognized?", "Can any pigment network be recognised?",
         "Can you recognise a pigment network?"),
        ("Is a reticular pattern of brown lines present?", "Do you see a honeycomb-like mesh of pigment?"),
    ),
    Question(
        "Are blood vessels visible on the surface?",
        ("Are any blood vessels visible on the surface?", "Are blood vessels visible at the surface?",
         "Are there blood vessels visible on the surface?"),
        ("Does the lesion show telangiectasia?", "Is there a vascular pattern to be seen?"),
    ),
    Question(
        "Is the surface of the lesion scaly or smooth?",
        ("Is the surface of the lesion smooth or scaly?", "Is the lesion's surface scaly or smooth?",
         "Is the surface of this lesion scaly or smooth?"),
        ("Does the skin flake over the lesion?", "What texture does the top of the lesion have?"),
    ),
    Question(
        "Does the lesion appear raised or flat?",
        ("Does the lesion appear flat or raised?", "Does this lesion appear raised or flat?",
         "Does the lesion look raised or flat?"),
        ("Is it a macule or a papule?", "Judging by shadows, does it stand out from the skin?"),
    ),
    Question(
        "How large a part of the image does the lesion cover?",
        ("How large a part of the image is covered by the lesion?",
         "How large a part of the picture does the lesion cover?",
         "How big a part of the image does the lesion cover?"),
        ("What fraction of the frame is taken up by it?", "Does it fill the picture, or only a small area?"),
    ),
    Question(
        "Is a ruler or another measure in the picture?",
        ("Is there a ruler or another measure in the picture?", "Is a ruler or other measure in the picture?",
         "Is a ruler or any other measure in the picture?"),
        ("Can a scale bar be found anywhere?", "Was something placed beside it that tells its size?"),
    ),
    Question(
        "Are there several lesions or only one?",
        ("Are there several lesions, or just one?", "Is there only one lesion or are there several lesions?",
         "Are several lesions there or only one?"),
        ("How many spots does the image show?", "Is this finding solitary or multiple?"),
    ),
    Question(
        "Does the lesion show signs of ulceration or bleeding?",
        ("Does the lesion show signs of bleeding or ulceration?",
         "Does this lesion show signs of ulceration or bleeding?",
         "Does the lesion show any signs of ulceration or bleeding?"),
        ("Is there an open sore or a crust of blood?", "Has the skin over it broken?"),
    ),
    Question(
        "Is the pigment distributed evenly over the lesion?",
        ("Is pigment evenly distributed over the lesion?", "Is the pigment evenly distributed across the lesion?",
         "Is the pigment distributed evenly in the lesion?"),
        ("Are some areas darker than others?", "How homogeneous is its colouring?"),
    ),
    Question(
        "What does the skin around the lesion look like?",
        ("What does the skin surrounding the lesion look like?", "How does the skin around the lesion look?",
         "What does the skin around this lesion look like?"),
        ("Describe the perilesional area.", "Is the neighbouring skin red, tanned or normal?"),
    ),
    Question(
        "Are white or shiny structures visible?",
        ("Are shiny or white structures visible?", "Are any white or shiny structures visible?",
         "Are white or shiny structures to be seen?"),
        ("Do bright lines glint under polarised light?", "Can you point out chrysalis-like streaks?"),
    ),
    Question(
        "Is the image in focus?",
        ("Is this image in focus?", "Is the picture in focus?", "Is the image well in focus?"),
        ("Was the photograph taken sharply?", "Does blur hide details?"),
    ),
    Question(
        "Which part of the lesion is the darkest?",
        ("Which part of the lesion is darkest?", "Which part of this lesion is the darkest?",
         "Which of the lesion's parts is the darkest?"),
        ("Where does it have the deepest tone?", "Point to the area with the most pigment."),
    ),
    Question(
        "Is the lesion in the centre of the image?",
        ("Is the lesion in the center of the image?", "Is the lesion at the centre of the image?",
         "Is this lesion in the centre of the image?"),
        ("Where in the frame does it lie?", "Was it photographed off to one side?"),
    ),
    Question(
        "Are dots or globules present at the periphery?",
        ("Are globules or dots present at the periphery?", "Are there dots or globules at the periphery?",
         "Are any dots or globules present at the periphery?"),
        ("Do small round spots line the rim?", "What lies at the outer edge: clods, points, nothing?"),
    ),
)  # fmt: skip

# Written when the threshold stood, and read once.
HELD_BACK = (
    Question(
        "Does a halo of pale skin surround the lesion?",
        ("Does a pale halo of skin surround the lesion?", "Is the lesion surrounded by a halo of pale skin?",
         "Does any halo of pale skin surround this lesion?"),
        ("Is there a depigmented ring about it?", "Has the rim of skin next to it lost its colour?"),
    ),
    Question(
        "Is there a reflection of light on the skin?",
        ("Is there any reflection of light on the skin?", "Are there reflections of light on the skin?",
         "Is there a light reflection on the skin?"),
        ("Did the flash leave glare?", "Are highlights to be seen that hide the surface?"),
    ),
    Question(
        "On which part of the body does this seem to be?",
        ("Which part of the body does this seem to be on?", "On what part of the body does this seem to be?",
         "On which body part does this seem to be?"),
        ("Can you tell the anatomical site?", "Do skin lines or hair hint at the location?"),
    ),
    Question(
        "How many milia-like cysts can be counted?",
        ("How many milia-like cysts can you count?", "How many milia like cysts can be counted here?",
         "How many of the milia-like cysts can be counted?"),
        ("Give the number of small white round keratin pearls.", "Are cystic inclusions numerous or few?"),
    ),
    Question(
        "Does the lesion have a blue or a grey area?",
        ("Does the lesion have a blue or gray area?", "Does the lesion have any blue or grey areas?",
         "Does this lesion have a grey or a blue area?"),
        ("Is a veil of steel-like tint present?", "Where do you see hues that point to deep pigment?"),
    ),
    Question(
        "Is the skin pattern interrupted by the lesion?",
        ("Is the skin's pattern interrupted by the lesion?", "Does the lesion interrupt the skin pattern?",
         "Is the pattern of the skin interrupted by the lesion?"),
        ("Do furrows run through it undisturbed?", "Are creases and ridges effaced where it lies?"),
    ),
    Question(
        "What distinguishes the left half from the right half?",
        ("What distinguishes the left half from the right?", "What distinguishes the right half from the left half?",
         "What is it that distinguishes the left half from the right half?"),
        ("Compare both sides of it.", "In what do its two sides differ?"),
    ),
    Question(
        "Are pen marks drawn on the skin?",
        ("Are there pen marks drawn on the skin?", "Are any pen marks on the skin?",
         "Were pen marks drawn on the skin?"),
        ("Has somebody marked the site with ink?", "Is anything written or encircled by hand?"),
    ),
    Question(
        "Do the dots vary in size?",
        ("Do dots vary in size?", "Do the dots vary in their size?", "Does the size of the dots vary?"),
        ("Are the small round structures all equally big?", "How uniform are the points?"),
    ),
    Question(
        "Would a second image from further away help?",
        ("Would a second image taken from further away help?", "Would another image from further away help?",
         "Would a second picture from further away help?"),
        ("Is an overview missing to judge it?", "Should the camera have been moved back?"),
    ),
)  # fmt: skip
