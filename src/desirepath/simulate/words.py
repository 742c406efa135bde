# SPDX-License-Identifier: Apache-2.0
"""The words that item texts and searches are made of, in English and Chinese.

Six departments of four categories each; the last category of a department holds accessories.
Nothing is drawn here.
"""

from __future__ import annotations

from typing import NamedTuple


class Category(NamedTuple):
    """One category of items in two languages."""

    name: str
    department: str
    nouns: tuple[str, ...]
    name_zh: str
    department_zh: str
    nouns_zh: tuple[str, ...]
    price: float
    """Median price."""


CATEGORIES = (
    Category("coffee", "kitchen", ("espresso beans", "pour-over kettle", "coffee grinder"),
             "咖啡", "厨房", ("意式咖啡豆", "手冲壶", "磨豆机"), 32),
    Category("cookware", "kitchen", ("cast-iron pan", "stock pot", "wok"),
             "锅具", "厨房", ("铸铁锅", "汤锅", "炒锅"), 58),
    Category("tableware", "kitchen", ("stoneware mug", "soup bowl", "dinner plate"),
             "餐具", "厨房", ("陶瓷杯", "汤碗", "餐盘"), 18),
    Category("kitchen helpers", "kitchen", ("paper filters", "silicone spatula", "pan lid"),
             "厨房小物", "厨房", ("滤纸", "硅胶铲", "锅盖"), 9),
    Category("laptops", "electronics", ("laptop", "mini computer", "workstation"),
             "电脑", "数码", ("笔记本电脑", "迷你主机", "工作站"), 940),
    Category("audio", "electronics", ("headphones", "desk speaker", "microphone"),
             "音频", "数码", ("耳机", "桌面音箱", "麦克风"), 120),
    Category("phones", "electronics", ("smartphone", "folding phone", "tablet"),
             "手机", "数码", ("智能手机", "折叠屏手机", "平板电脑"), 480),
    Category("cables and cases", "electronics", ("charging cable", "laptop sleeve", "phone case"),
             "线材与保护套", "数码", ("充电线", "电脑包", "手机壳"), 19),
    Category("shoes", "fashion", ("running shoes", "leather boots", "sandals"),
             "鞋履", "服饰", ("跑鞋", "皮靴", "凉鞋"), 74),
    Category("jackets", "fashion", ("rain jacket", "down jacket", "denim jacket"),
             "外套", "服饰", ("冲锋衣", "羽绒服", "牛仔外套"), 96),
    Category("dresses", "fashion", ("summer dress", "linen dress", "evening dress"),
             "连衣裙", "服饰", ("夏季连衣裙", "亚麻连衣裙", "晚礼服"), 62),
    Category("socks and belts", "fashion", ("wool socks", "leather belt", "shoe care kit"),
             "袜子与腰带", "服饰", ("羊毛袜", "皮带", "护鞋套装"), 15),
    Category("consoles", "games", ("game console", "handheld console", "retro console"),
             "游戏机", "游戏", ("游戏主机", "掌上游戏机", "怀旧游戏机"), 320),
    Category("video games", "games", ("strategy game", "racing game", "puzzle game"),
             "电子游戏", "游戏", ("策略游戏", "赛车游戏", "解谜游戏"), 48),
    Category("board games", "games", ("card game", "cooperative board game", "chess set"),
             "桌游", "游戏", ("卡牌游戏", "合作桌游", "国际象棋"), 36),
    Category("gaming accessories", "games", ("controller grip", "memory card", "card sleeves"),
             "游戏配件", "游戏", ("手柄套", "存储卡", "牌套"), 17),
    Category("tents", "outdoor", ("family tent", "trekking tent", "beach shelter"),
             "帐篷", "户外", ("家庭帐篷", "徒步帐篷", "沙滩帐篷"), 180),
    Category("bicycles", "outdoor", ("children's bicycle", "city bicycle", "gravel bicycle"),
             "自行车", "户外", ("儿童自行车", "城市自行车", "砾石公路车"), 410),
    Category("toys", "outdoor", ("building blocks", "kite", "water slide"),
             "玩具", "户外", ("积木", "风筝", "水滑梯"), 27),
    Category("outdoor gear", "outdoor", ("head torch", "bicycle lock", "water bottle"),
             "户外装备", "户外", ("头灯", "自行车锁", "水壶"), 22),
    Category("skin care", "beauty", ("face cream", "sunscreen", "serum"),
             "护肤", "美妆", ("面霜", "防晒霜", "精华液"), 34),
    Category("make-up", "beauty", ("lipstick", "eyeshadow palette", "foundation"),
             "彩妆", "美妆", ("口红", "眼影盘", "粉底液"), 26),
    Category("perfume", "beauty", ("eau de parfum", "cologne", "room spray"),
             "香水", "美妆", ("香水", "古龙水", "室内香氛"), 68),
    Category("beauty tools", "beauty", ("make-up brush", "cotton pads", "travel bottle"),
             "美容工具", "美妆", ("化妆刷", "化妆棉", "旅行分装瓶"), 11),
)  # fmt: skip
"""Category c belongs to department c // 4; c % 4 == 3 are the accessories."""

ADJECTIVES = (
    ("light", "轻便"), ("classic", "经典"), ("compact", "小巧"), ("durable", "耐用"), ("premium", "高级"),
    ("soft", "柔软"), ("quiet", "静音"), ("bright", "亮色"), ("foldable", "可折叠"), ("vintage", "复古"),
    ("natural", "天然"), ("slim", "纤薄"),
)  # fmt: skip
"""An English word and the Chinese one."""

BRANDS = (
    ("Aster", "紫菀"), ("Birch", "白桦"), ("Cobalt", "钴蓝"), ("Dune", "沙丘"), ("Ember", "余烬"),
    ("Fjord", "峡湾"), ("Grove", "林间"), ("Heron", "苍鹭"), ("Iris & Oak", "鸢尾橡木"), ("Juniper", "杜松"),
)  # fmt: skip
"""Brand names; one holds an ampersand, which a careless shop writes as an HTML entity."""

COUNTRIES = (("DE", 0.22), ("US", 0.20), ("CN", 0.20), ("FR", 0.14), ("BR", 0.10), ("JP", 0.08), ("IN", 0.06))
"""Country of a user and its share."""

AGE_BANDS = (("18-24", 0.20), ("25-34", 0.30), ("35-44", 0.22), ("45-54", 0.16), ("55+", 0.12))
"""Age band of a user and its share."""
