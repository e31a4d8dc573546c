#include "jobs/content/answer.h"

#include "base/utf8.h"
#include "jobs/content/reply.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Words of asking rather than of what is asked. */
static const char ASKING[] =
    "product item thing tell know want wonder like need please thanks thank hello hi question ask "
    "get got put take use using come buy order work good really still think looking "
    "possible able sure long much many "
    "商品 产品 宝贝 可以 请问 知道 想问 告诉 一下 怎么 怎样 什么 多少 多久 是否 能否 能不 不能 吗 "
    "呢 "
    "这个 这款 这件 那个 有没 没有 支持 需要 适合";

/* Words that stand for one another in questions and facts, one group a line. */
static const char *const GROUPS[] = {
    "price cost costs expensive cheap money 价格 价钱 多少钱 贵 元",
    ("size big large small tall wide length width height dimension dimensions cm mm measure 尺寸 "
     "尺码 多大 多高 多长 多宽 大小 厘米"),
    "weigh weight heavy light kg gram grams lb oz 重量 多重 克 公斤",
    ("material materials made fabric cotton leather wool steel wood polyester linen 材质 面料 材料 "
     "什么做 成分"),
    "color colour colors colours 颜色 色",
    "wash washing washable laundry clean cleaning machine dishwasher 洗 清洗 机洗 水洗 干洗",
    "rain wet water waterproof resistant splash 雨 防水 淋 水",
    "battery charge charging charger mah playback hours 电池 充电 续航 毫安 电量",
    "warranty guarantee years 保修 质保 保障",
    "ship shipping delivery deliver arrive 发货 快递 物流 配送 送货 到货",
    "return refund exchange returned 退货 退换 退款 换货 七天",
    ("ingredient ingredients contains contain allergen allergens nuts almonds gluten 成分 配料 "
     "含有 "
     "过敏 添加"),
    "capacity volume ml liter litre liters hold holds 容量 多少升 毫升 升",
    "age ages old year child children kids baby 年龄 几岁 适合多大 岁 儿童 孩子 宝宝",
    "store storage keep cool shelf 保存 储存 存放 密封",
    "expire expiry expiration shelf 保质期 保质 过期",
    "origin made country where 产地 哪里产 原产 进口",
    "noise cancelling cancellation quiet loud 降噪 噪音 静音",
    "bluetooth wireless connect usb cable port 蓝牙 无线 连接 接口 有线",
    "hot warm cold temperature degrees °c keeps 保温 温度 热 冷",
    "heat oven microwave hob induction 烤箱 微波炉 电磁炉 明火",
    "pocket pockets 口袋 兜",
    "fit fits size 合身 尺码 偏大 偏小",
    "skin face oily dry sensitive 肤质 皮肤 肌肤 敏感肌",
    "page pages 页 多少页",
    "stock available availability 有货 库存 现货",
};
enum { GROUPS_COUNT = sizeof GROUPS / sizeof GROUPS[0] };

struct view {
    struct cm_plain_text plain;
    struct cm_text_words words;
};

static enum cm_status look_at(struct view *view, struct cm_span text)
{
    enum cm_status status = cm_plain_text_fill(&view->plain, text);
    return status == CM_OK ? cm_text_words_fill(&view->words, &view->plain) : status;
}

static void view_deinit(struct view *view)
{
    cm_plain_text_deinit(&view->plain);
    cm_text_words_deinit(&view->words);
}

static enum cm_status add_to_set(struct cm_word_set *set, struct view *view, struct cm_span text)
{
    enum cm_status status = look_at(view, text);
    return status == CM_OK ? cm_word_set_add(set, &view->words) : status;
}

/* Whether a word of a group (ASCII: at the borders of words, otherwise anywhere) stands in a text.
 */
static bool stands_in(struct cm_span text, struct cm_span word)
{
    bool is_ascii = (unsigned char)word.data[0] < 0x80;
    for (size_t at = 0; at + word.length <= text.length; at++) {
        size_t end = at + word.length;
        bool left = !is_ascii || at == 0 || !isalnum((unsigned char)text.data[at - 1]);
        bool right = !is_ascii || end == text.length || !isalnum((unsigned char)text.data[end]);
        if (left && right && strncasecmp(text.data + at, word.data, word.length) == 0) {
            return true;
        }
    }
    return false;
}

static bool group_stands_in(const char *group, struct cm_span text)
{
    for (const char *at = group; *at != '\0';) {
        size_t length = strcspn(at, " ");
        if (stands_in(text, (struct cm_span){ at, length })) {
            return true;
        }
        at += length + (at[length] == ' ');
    }
    return false;
}

/* Whether a group that the question speaks of is one that the facts speak of. */
static bool groups_hold(struct cm_span question, struct cm_span facts)
{
    for (size_t i = 0; i < GROUPS_COUNT; i++) {
        if (group_stands_in(GROUPS[i], question) && group_stands_in(GROUPS[i], facts)) {
            return true;
        }
    }
    return false;
}

/* The first unit of the question that neither facts nor title hold. */
static void name_missing(struct cm_span question, const struct cm_text_unit *unit,
                         struct cm_answer_check *check)
{
    if (check->missing[0] == '\0') {
        snprintf(check->missing, sizeof check->missing, "%.*s", (int)(unit->end - unit->begin),
                 question.data + unit->begin);
        cm_utf8_clean(check->missing);
    }
}

enum cm_status cm_answer_examine(const struct cm_question *question,
                                 const struct cm_fact_sheet *facts, struct cm_span answer,
                                 struct cm_answer_check *check)
{
    struct view view = { 0 };
    struct cm_word_set ignored = { 0 };
    struct cm_span asked = cm_span_of(question->text);
    *check = (struct cm_answer_check){
        .is_refusal = cm_reply_refuses(answer),
        .is_refusal_alone = cm_reply_refuses_alone(answer),
        .is_opposite = cm_reply_is_opposite(answer, cm_span_of(question->policy)),
    };
    enum cm_status status = add_to_set(&ignored, &view, cm_span_of(ASKING));
    for (size_t i = 0; i < facts->slots_count && status == CM_OK; i++) {
        if (strcmp(facts->slots[i].name, "title") == 0) {
            status = add_to_set(&ignored, &view, cm_span_of(facts->slots[i].value));
        }
    }
    cm_word_set_sort(&ignored);
    if (status == CM_OK) {
        status = look_at(&view, asked);
    }
    if (status == CM_OK) {
        struct cm_text_unit unit;
        size_t units = 0;
        size_t held = 0;
        for (size_t at = 0; cm_text_unit_next(&view.words, &at, &unit);) {
            if (cm_word_set_holds(&ignored, unit.hash)) {
                continue;
            }
            bool is_held = cm_word_set_holds(&facts->set, unit.hash);
            units++;
            held += is_held;
            if (!is_held) {
                name_missing(asked, &unit, check);
            }
        }
        check->is_held = question->policy[0] != '\0' || units == 0 || 3 * held >= units ||
                         groups_hold(asked, cm_text_span(&facts->text));
    }
    view_deinit(&view);
    cm_word_set_deinit(&ignored);
    return status;
}
