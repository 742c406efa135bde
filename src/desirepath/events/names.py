# SPDX-License-Identifier: Apache-2.0
"""How strongly the name of a column speaks for each role, from the names that real logs use.

It knows names only, never values. The vocabulary comes from some fifty public data sets and the
common analytics exports.
"""

from __future__ import annotations

import re
from functools import lru_cache

from desirepath.schema import ACTION, EVENT_ID, ITEM, SESSION, TIME, USER, VALUE

ID = r"(_?(id|ids|idx|ix|index|key|hash|uuid|guid|no|nr|num|number|code|sha\d+|md5|uid|pk))?"
WHO = (
    "user|usr|customer|cust|client|visitor|member|person|account|buyer|shopper|reviewer|viewer|subscriber|"
    "player|learner|student|patient|passenger|consumer|guest|reader|listener|profile|household|fullvisitor"
)
WHAT = (
    "item|product|prod|sku|asin|article|content|movie|film|book|isbn|track|song|artist|album|video|show|game|"
    "poi|venue|business|place|location|news|post|hotel|recipe|ad|advert|creative|stock|goods?|merchandise|offer|"
    "listing|course|lesson|badge|document|doc|doi|story|podcast|episode|restaurant|beer|property|job|question|"
    "exercise|problem|skill|material|webpage|banner|campaign_item|entity|object|object_item|target"
)
VOCABULARY: dict[str, tuple[tuple[float, str], ...]] = {
    USER: (
        (1.0, rf"({WHO}){ID}|uid|u_id|msno|distinct_id|anonymous_id|anon_id|mmsi"),
        (
            0.9,
            rf"(.+_)?({WHO})(_unique)?_(id|idx|uuid|key|hash|no|id_?sha\d+|id_?hash)|({WHO})id.*|cookie{ID}",
        ),
        (0.9, r"(用户|用戶|会员|客户|读者)(id|_id|编号|标识|号)?"),
        (
            0.6,
            r"seq(uence)?_id|case_id|case|trace_id|author(_id)?|actor(_id)?|owner_id|from_(user|node)(_id)?",
        ),
        (0.5, r"host|ip|ip_addr(ess)?|client_ip|remote_(addr|host)|device_id|u|by"),
    ),
    ITEM: (
        (1.0, rf"({WHAT}){ID}|iid|i_id|stock_?code|goods_?sku"),
        (0.9, rf"(.+_)?({WHAT})_(id|idx|uuid|key|hash|no|code)|({WHAT})id"),
        (0.9, r"(商品|物品|文章|内容|视频|电影)(id|_id|编号|标识|号)?"),
        (
            0.7,
            r"(page_?)?(url|uri|path)|page(_?(id|name))?|screen(_?name)?|request(_?path)?|link|product_?name",
        ),
        (0.6, rf"(reply|thread|repo|channel|song_?name|track_?name|artist_?name|title|app|game_?name){ID}"),
        (0.4, r"(tag|brand|category|friend|genre|cat|to_node|to_user)_?id|name"),
        (0.35, r"id"),
        (0.3, r"type|event_type|category|concept_name"),
    ),
    ACTION: (
        (1.0, r"(event|action|behaviou?r|interaction|activity)(_?(type|name|kind|cat|category))?|verb|act"),
        (
            0.8,
            r"(event|action|behaviou?r|interaction|activity)_.+(type|name)|operation|op|concept_name|signal",
        ),
        (0.9, r"(行为|事件|动作|操作)(类型|_?type)?"),
        (0.7, r"type|kind|feedback_?(type)?"),
        (0.5, r".+_type|method|http_method"),
    ),
    TIME: (
        (
            1.0,
            r"time_?stamps?|ts|date_?time|event_?(time|timestamp|date|ts|datetime)|unix_?time(stamp)?|moment",
        ),
        (1.0, r"time|created_?(at|time|on|date)?|occurr?ed_?(at|on)|utc(_?time)?|unix_?review_?time|epoch"),
        (0.9, r"(时间|時間)(戳)?|日期|.+(时间|時間)"),
        (
            0.9,
            r".+_(time_?stamp|date_?time|ts)|server_?time|visit_?time|action_?time|(order|purchase|click)_?time",
        ),
        (
            0.85,
            r"(invoice|order|purchase|transaction|trans|view|click|review|visit|check_?in)_?(date|dat)|t_dat",
        ),
        (0.8, r"date|day_?date|.+_time|(play|click|view|visit|log|local)time|created.*|tim"),
        (0.7, r"updated_?(at|time)?|modified_?(at|time)?|.+_(date|at)|.*timestamp.*|last_.+_time"),
        (
            0.6,
            r"minutes?|hours?|days?|weeks?|seconds?|millis(econds)?|.+_(minutes?|hours?|seconds?)|start(ed)?",
        ),
        (0.5, r"session_?start|start_?time|begin|dt|t|when|end_?time"),
    ),
    EVENT_ID: (
        (
            1.0,
            r"event_?(id|uuid|guid)|insert_id|message_?id|log_?id|hit_?id|interaction_?id|request_?id|row_?id",
        ),
        (0.7, r"(transaction|trans|order|invoice|rating|review)_?(id|no|number)"),
    ),
    SESSION: (
        (1.0, r"session(_?(id|key|uuid|hash|no))?|sid|visit(_?id)?|session_?number|user_?session|basket_?id"),
        (0.8, r".*session_?id|ga_?session.*|order_?id|trip_?id|playlist_?id|pid_session"),
    ),
    VALUE: (
        (1.0, r"value|rating|ratings|stars?|score|price|amount|revenue|overall|quantity|qty|weight"),
        (
            0.8,
            r"play_?counts?|plays?|listen_?counts?|dwell(_?time)?(_?s)?|duration(_?(s|ms|sec|seconds))?|spend",
        ),
        (
            0.7,
            r"(?!propensity).+_(rating|price|amount|value|score|quantity|duration)|count|watch_?(time|ratio)"
            r"|hours_?played",
        ),
    ),
    "query": (
        (
            1.0,
            r"query(_?(text|string|term))?|search(_?(query|term|text|keywords?))?|keywords?|search_?phrase",
        ),
    ),
    "device": (
        (1.0, r"device(_?(type|name|category|group|model))?|user_?agent|ua|platform"),
        (0.9, r".+_device(_?(type|name|category|group|model))?|browser|os|.+_os"),
    ),
    "country": (
        (1.0, r"country(_?(code|id|name))?|nation"),
        (0.9, r".+_country(_?(code|id|name))?|geo_?country"),
    ),
    "region": (
        (1.0, r"region(_?(code|id|name))?|state|province|city"),
        (0.9, r".+_(region|city|state)(_?(code|id|name))?|geo_?region"),
    ),
    "lat": ((1.0, r"lat|latitude|.+_lat(itude)?|y_coord"),),
    "lon": ((1.0, r"lon|lng|long|longitude|.+_(lon|lng|longitude)|x_coord"),),
    "position": ((1.0, r"position|pos|rank|slot|(list|display|item)_?(position|rank|index)|order_in_list"),),
    "impression_id": ((1.0, r"impression_?(id|uuid)|imp_?id|impression|list_?id|display_id|slate_?id"),),
    "source": (
        (1.0, r"source|referr?er|utm_source|traffic_?source|referrer_?(type|url)|origin"),
        (0.9, r".+_(referr?er|source)(_?type)?|medium|channel_?name"),
    ),
}
"""Role -> (strength, pattern) pairs, strongest first; a pattern must match the whole plain name."""

NOT_IDS = re.compile(
    r"(.+_)?(features?|affinity|affinities|agent|age|gender|sex|counts?|score|rating|country|region|city|size|starts?|"
    r"level|lat|lon|date|time|timestamp|created|at|price|segment|status|text|comment|description|embedding)(_\d+)?"
)
"""Plain names that are no ids although they name a person or thing, such as user_feature_0."""


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name in lower case with words parted by underscores; RecBole's ":type" is cut.

    >>> [plain(n) for n in ("contentId", "click_deviceGroup", "user_id:token", "Customer ID", "userIdsha256")]
    ['content_id', 'click_device_group', 'user_id', 'customer_id', 'user_id_sha256']
    """
    text = re.sub(r":(token|float)(_seq)?$", "", name.strip())
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text)
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", text)
    text = re.sub(r"[^0-9a-zA-Z\u0080-\U0010ffff]+", "_", text).strip("_").lower()
    return re.sub(r"(?<=id)(sha\d+|md5|hash)$", r"_\1", text)


@lru_cache(maxsize=65536)
def strength(name: str, role: str) -> float:
    """How strongly a name speaks for a role: 0 not at all, 1 as if it were its own.

    >>> strength("contentId", "item_id"), strength("user_feature_0", "user_id")
    (1.0, 0.0)
    """
    word = plain(name)
    if word == role:
        return 1.0
    if role in (USER, ITEM) and NOT_IDS.fullmatch(word):
        return 0.0
    return max((weight for weight, pattern in VOCABULARY[role] if re.fullmatch(pattern, word)), default=0.0)


def is_known(name: str) -> bool:
    """Whether some role knows this name well, as it would a header's.

    >>> is_known("timestamp"), is_known("881250949")
    (True, False)
    """
    return ":token" in name or ":float" in name or any(strength(name, role) >= 0.6 for role in VOCABULARY)
