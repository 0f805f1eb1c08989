"""The words of the captions, as (English, Korean).

The names of the style classes, their parts and their Korean transliterations are kept out: a caption must not spell the
label that is to be learnt.
"""

Words = tuple[str, str]

PERSON = {"f": ("woman", "여자"), "m": ("man", "남자")}
QUALITY = {
    "High": ("sharp image", "선명한 사진"),
    "Medium": ("soft image", "살짝 흐린 사진"),
    "Low": ("blurry noisy image", "흐리고 거친 사진"),
}
SHOT = {
    "Selfie_CloseUp": ("close up selfie", "가까이 찍은 셀카"),
    "Mirrored_Selfie": ("mirror selfie with phone", "휴대폰을 든 거울 셀카"),
    "Others_Cam": ("full body photo", "전신 사진"),
}
TOP = {
    "tee": ("t-shirt", "티셔츠"),
    "sweater": ("striped sweater", "줄무늬 스웨터"),
    "knit": ("knit top", "니트"),
    "polo": ("polo shirt", "폴로 셔츠"),
    "hoodie": ("hoodie", "후드티"),
    "graphic": ("graphic t-shirt", "그래픽 티셔츠"),
    "puffer": ("puffer jacket", "패딩"),
    "tank": ("tank top", "민소매"),
    "track": ("track jacket", "트랙 재킷"),
    "turtle": ("turtleneck", "터틀넥"),
    "trench": ("trench coat", "트렌치코트"),
    "blazer": ("blazer", "블레이저"),
    "jacket": ("jacket", "재킷"),
    "dress": ("dress", "원피스"),
    "strapdress": ("slip dress", "끈 원피스"),
    "suit": ("suit", "정장"),
}
BOTTOM = {
    "jeans": ("jeans", "청바지"),
    "ripped_jeans": ("ripped jeans", "찢어진 청바지"),
    "skirt": ("skirt", "치마"),
    "cargo": ("cargo trousers", "카고 바지"),
    "leggings": ("leggings", "레깅스"),
    "shorts": ("shorts", "반바지"),
    "joggers": ("jogger trousers", "조거 팬츠"),
    "wide": ("wide trousers", "와이드 팬츠"),
    "suit": ("suit trousers", "정장 바지"),
}
HUE = (
    ("red", "빨간"),
    ("orange", "주황색"),
    ("yellow", "노란"),
    ("green", "초록색"),
    ("teal", "청록색"),
    ("blue", "파란"),
    ("purple", "보라색"),
)
TONE = {"dark": ("dark ", "어두운 "), "middle": ("", ""), "bright": ("bright ", "밝은 ")}
NEAT, PLAIN = ("neat", "깔끔한"), ("plain", "수수한")
LOOK = {
    "relaxed": ("relaxed look", "편안한 룩"),
    "loose": ("loose look", "오버핏 룩"),
    "workout": ("workout look", "운동복 룩"),
    "dandy": ("dandy look", "댄디룩"),
    "graceful": ("graceful look", "우아한 룩"),
    "city": ("city look", "도시적인 룩"),
}
WARMTH = {"warm": ("warm", "따뜻하고"), "neutral": ("neutral", "자연스럽고"), "cool": ("cool", "차갑고")}
LIGHT = {
    "bright": ("bright light", "밝은 조명"),
    "even": ("even light", "고른 조명"),
    "dim": ("dim light", "어두운 조명"),
}
SCENE = {
    "wall": ("bare wall", "빈 벽"),
    "park": ("park", "공원"),
    "street": ("city blocks", "빌딩가"),
    "gym": ("gym", "헬스장"),
    "cafe": ("bar", "바"),
    "evening": ("night lights", "밤 불빛"),
    "room": ("room", "방"),
    "beach": ("beach", "해변"),
}
ACCESSORY = {
    "beanie": ("beanie", "비니"),
    "cap": ("cap", "캡 모자"),
    "bucket": ("bucket hat", "벙거지"),
    "band": ("headband", "헤어밴드"),
    "fedora": ("fedora", "중절모"),
    "sun": ("sunglasses", "선글라스"),
    "round": ("round glasses", "동그란 안경"),
    "headphones": ("headphones", "헤드폰"),
    "tie": ("tie", "넥타이"),
    "pearls": ("pearls", "진주 목걸이"),
    "chain": ("chain", "체인 목걸이"),
    "watch": ("watch", "시계"),
    "bag": ("bag", "가방"),
    "strap": ("shoulder strap", "가방 끈"),
    "earrings": ("earrings", "귀걸이"),
    "makeup": ("red lips", "붉은 입술"),
    "beard": ("beard", "수염"),
}
HAIR_COLOUR = (
    ("black", "검은"),
    ("dark brown", "흑갈색"),
    ("brown", "갈색"),
    ("light brown", "밝은 갈색"),
    ("blond", "금발"),
    ("red", "붉은"),
    ("grey", "회색"),
)
HAIR = {
    "long": ("long hair", "긴 머리"),
    "wavy": ("wavy hair", "웨이브 머리"),
    "bob": ("bob hair", "단발 머리"),
    "bun": ("bun hair", "올림 머리"),
    "pony": ("pony tail hair", "묶은 머리"),
    "curly": ("curly hair", "곱슬 머리"),
    "short": ("short hair", "짧은 머리"),
    "side": ("side parted hair", "가르마 머리"),
    "buzz": ("buzz cut hair", "반삭 머리"),
}
SKIN = (
    ("very light skin", "아주 밝은 피부"),
    ("light skin", "밝은 피부"),
    ("tan skin", "살짝 그을린 피부"),
    ("olive skin", "올리브빛 피부"),
    ("brown skin", "갈색 피부"),
    ("deep skin", "짙은 피부"),
)
IMPRESSION = ("calm", "friendly", "cheerful")
