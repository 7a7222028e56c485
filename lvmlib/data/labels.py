"""What the labels of the shipped data sets stand for."""

EMOJI_GROUPS = (
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
)
"""The groups of Unicode that the labels of the emoji stand for."""

SPEECH_WORDS = tuple(
    """
    zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, twenty, thirty, forty,
    fifty, sixty, seventy, eighty, hundred, thousand, million, billion, first, second, third, fourth, fifth, sixth,
    seventh, eighth, ninth, eleventh, twelfth, thirteenth, fourteenth, fifteenth, sixteenth, seventeenth, eighteenth,
    twentieth, thirtieth, fortieth, fiftieth, sixtieth, seventieth, eightieth, hundredth, thousandth, millionth,
    billionth, Sunday, Monday, Tuesday, Thursday, Friday, Saturday, February, March, April, May, June, July, August, at,
    dollars, minus, o'clock, p.m., pound, star, today, tomorrow, b, c, d, e, g, h, i, j, k, o, p, q, r, t, u, v, w, x,
    y, zee, zed, asterisk, dash, dollar, dot, equals, plus, slash, space, alpha, bravo, charlie, delta, echo, golf,
    hotel, india, juliet, kilo, lima, mike, oscar, papa, quebec, romeo, sierra, tango, victor, zulu, niner, pause,
    paused, playback, record, added, thank you, calling, cancelled, enabled, for, goodbye, hello, hours, lowercase,
    minute, minutes, number, less than, removed, seconds, speed dial, agent, local, time, uppercase, family, friends,
    old, urgent, work, and, from, last, message, messages, no, password, press, received, saved, you have, with
    """.replace("\n    ", " ")
    .strip()
    .split(", ")
)
"""What the labels of the spoken words stand for; label 7 is the word "seven"."""
