#include "jobs/units.h"

#include "base/status.h"
#include "jobs/number_signs.h"

#include <string.h>

enum kind {
    PERCENT = CM_UNIT_PERCENT,
    MM,
    CM,
    M,
    KM,
    INCH,
    FOOT,
    YARD,
    MILE,
    MG,
    G,
    KG,
    JIN,
    TON,
    OZ,
    LB,
    ML,
    CL,
    L,
    GALLON,
    PINT,
    QUART,
    W,
    KW,
    WH,
    V,
    A,
    MAH,
    HZ,
    MHZ,
    GHZ,
    KB,
    MB,
    GB,
    TB,
    MP,
    PX,
    DPI,
    SECOND,
    MINUTE,
    HOUR,
    DAY,
    WEEK,
    MONTH,
    YEAR,
    KINDS_COUNT
};
_Static_assert((int)KINDS_COUNT <= (int)CM_UNIT_UNTOLD, "a set of kinds is a number of 64 bits");

/* Sorted. Unclear ones begin other words too. */
#define SPELLINGS(X)            \
    X("amp", A, false)          \
    X("amps", A, true)          \
    X("centimeter", CM, true)   \
    X("centimeters", CM, true)  \
    X("centimetre", CM, true)   \
    X("centimetres", CM, true)  \
    X("cl", CL, false)          \
    X("cm", CM, true)           \
    X("day", DAY, false)        \
    X("days", DAY, true)        \
    X("dpi", DPI, true)         \
    X("feet", FOOT, true)       \
    X("foot", FOOT, false)      \
    X("ft", FOOT, true)         \
    X("g", G, false)            \
    X("gal", GALLON, true)      \
    X("gallon", GALLON, true)   \
    X("gallons", GALLON, true)  \
    X("gb", GB, true)           \
    X("ghz", GHZ, true)         \
    X("gigabyte", GB, true)     \
    X("gigabytes", GB, true)    \
    X("gram", G, true)          \
    X("gramme", G, true)        \
    X("grammes", G, true)       \
    X("grams", G, true)         \
    X("h", HOUR, false)         \
    X("hertz", HZ, true)        \
    X("hour", HOUR, true)       \
    X("hours", HOUR, true)      \
    X("hr", HOUR, true)         \
    X("hrs", HOUR, true)        \
    X("hz", HZ, true)           \
    X("inch", INCH, true)       \
    X("inches", INCH, true)     \
    X("kb", KB, false)          \
    X("kg", KG, true)           \
    X("kgs", KG, true)          \
    X("kilo", KG, false)        \
    X("kilogram", KG, true)     \
    X("kilograms", KG, true)    \
    X("kilometer", KM, true)    \
    X("kilometers", KM, true)   \
    X("kilometre", KM, true)    \
    X("kilometres", KM, true)   \
    X("kilos", KG, true)        \
    X("kilowatt", KW, true)     \
    X("kilowatts", KW, true)    \
    X("km", KM, true)           \
    X("kw", KW, true)           \
    X("l", L, false)            \
    X("lb", LB, true)           \
    X("lbs", LB, true)          \
    X("liter", L, true)         \
    X("liters", L, true)        \
    X("litre", L, true)         \
    X("litres", L, true)        \
    X("m", M, false)            \
    X("mah", MAH, true)         \
    X("mb", MB, false)          \
    X("megapixel", MP, true)    \
    X("megapixels", MP, true)   \
    X("meter", M, true)         \
    X("meters", M, true)        \
    X("metre", M, true)         \
    X("metres", M, true)        \
    X("mg", MG, true)           \
    X("mhz", MHZ, true)         \
    X("mile", MILE, false)      \
    X("miles", MILE, true)      \
    X("milligram", MG, true)    \
    X("milligrams", MG, true)   \
    X("milliliter", ML, true)   \
    X("milliliters", ML, true)  \
    X("millilitre", ML, true)   \
    X("millilitres", ML, true)  \
    X("millimeter", MM, true)   \
    X("millimeters", MM, true)  \
    X("millimetre", MM, true)   \
    X("millimetres", MM, true)  \
    X("min", MINUTE, false)     \
    X("mins", MINUTE, true)     \
    X("minute", MINUTE, true)   \
    X("minutes", MINUTE, true)  \
    X("ml", ML, true)           \
    X("mm", MM, true)           \
    X("month", MONTH, true)     \
    X("months", MONTH, true)    \
    X("mp", MP, false)          \
    X("ounce", OZ, true)        \
    X("ounces", OZ, true)       \
    X("oz", OZ, true)           \
    X("pct", PERCENT, true)     \
    X("percent", PERCENT, true) \
    X("pint", PINT, false)      \
    X("pints", PINT, true)      \
    X("pixel", PX, true)        \
    X("pixels", PX, true)       \
    X("pound", LB, false)       \
    X("pounds", LB, true)       \
    X("px", PX, true)           \
    X("quart", QUART, true)     \
    X("quarts", QUART, true)    \
    X("sec", SECOND, false)     \
    X("second", SECOND, false)  \
    X("seconds", SECOND, true)  \
    X("tb", TB, true)           \
    X("terabyte", TB, true)     \
    X("terabytes", TB, true)    \
    X("ton", TON, false)        \
    X("tonne", TON, true)       \
    X("tonnes", TON, true)      \
    X("tons", TON, true)        \
    X("v", V, false)            \
    X("volt", V, true)          \
    X("volts", V, true)         \
    X("w", W, false)            \
    X("watt", W, true)          \
    X("watts", W, true)         \
    X("week", WEEK, true)       \
    X("weeks", WEEK, true)      \
    X("wh", WH, true)           \
    X("yard", YARD, false)      \
    X("yards", YARD, true)      \
    X("yd", YARD, true)         \
    X("yds", YARD, true)        \
    X("year", YEAR, true)       \
    X("years", YEAR, true)      \
    X("yr", YEAR, true)         \
    X("yrs", YEAR, true)        \
    X("个月", MONTH, true)      \
    X("伏", V, true)            \
    X("像素", MP, true)         \
    X("克", G, true)            \
    X("公分", CM, true)         \
    X("公斤", KG, true)         \
    X("公里", KM, true)         \
    X("分钟", MINUTE, true)     \
    X("加仑", GALLON, true)     \
    X("千克", KG, true)         \
    X("千瓦", KW, true)         \
    X("千米", KM, true)         \
    X("升", L, true)            \
    X("厘米", CM, true)         \
    X("吋", INCH, true)         \
    X("吨", TON, true)          \
    X("天", DAY, true)          \
    X("安培", A, true)          \
    X("小时", HOUR, true)       \
    X("年", YEAR, true)         \
    X("斤", JIN, true)          \
    X("毫克", MG, true)         \
    X("毫升", ML, true)         \
    X("毫安", MAH, true)        \
    X("毫米", MM, true)         \
    X("瓦", W, true)            \
    X("盎司", OZ, true)         \
    X("磅", LB, true)           \
    X("秒", SECOND, true)       \
    X("米", M, true)            \
    X("英寸", INCH, true)       \
    X("英尺", FOOT, true)       \
    X("赫兹", HZ, true)

#define WORD(spelling, kind, clear) spelling,
#define KIND(spelling, kind, clear) kind,
#define CLEAR(spelling, kind, clear) clear,

static const char *const words[] = { SPELLINGS(WORD) };
static const uint8_t kinds[] = { SPELLINGS(KIND) };
static const bool clear[] = { SPELLINGS(CLEAR) };

const struct cm_word_list cm_units = { words, sizeof words / sizeof words[0] };

uint32_t cm_unit_of(int32_t spelling)
{
    return spelling < 0 ? CM_UNIT_NONE : kinds[spelling];
}

bool cm_unit_is_clear(int32_t spelling)
{
    return spelling >= 0 && clear[spelling];
}

bool cm_unit_is_untold(struct cm_span name, struct cm_span value)
{
    static const char *const measures[] = { "weight",   "width",  "height", "length",  "depth",
                                            "diameter", "volume", "price",  "wattage", "voltage",
                                            "重量",     "净重",   "宽度",   "高度",    "长度",
                                            "直径",     "容量",   "价格",   "功率",    "电压" };
    value = cm_span_trim(value);
    for (size_t i = 0; i < value.length; i++) {
        if (strchr("0123456789.,", value.data[i]) == NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++) {
        if (cm_span_holds(name, measures[i])) {
            return value.length > 0;
        }
    }
    return false;
}

bool cm_unit_allowed(uint64_t allowed, uint32_t unit)
{
    bool is_bare = (allowed & (UINT64_C(1) << CM_UNIT_NONE)) != 0;
    return unit == CM_UNIT_NONE || (allowed & (UINT64_C(1) << unit)) != 0 ||
           (is_bare && unit != CM_UNIT_PERCENT);
}

static size_t skip_gap(struct cm_span text, size_t at)
{
    size_t bytes;
    while (cm_is_unit_gap(cm_character_at(text, at, &bytes))) {
        at += bytes;
    }
    return at;
}

/* Walks along the spellings as far as they go. True where a word goes on that is no unit. */
static bool walk(struct cm_span text, size_t *at, uint32_t *state)
{
    size_t bytes;
    int32_t character = cm_lower_ascii(cm_character_at(text, *at, &bytes));
    while (cm_walk_next(&cm_units, state, character)) {
        *at += bytes;
        /* Scripts without spaces have no end of a word to wait for. */
        if (character >= 0x80 && cm_walk_word(&cm_units, *state) >= 0) {
            return false;
        }
        character = cm_lower_ascii(cm_character_at(text, *at, &bytes));
    }
    return cm_is_word_letter(character);
}

uint32_t cm_unit_read(struct cm_span text, size_t at)
{
    uint32_t state = 0;
    at = skip_gap(text, at);
    bool is_other_word = walk(text, &at, &state);
    int32_t spelling = cm_walk_word(&cm_units, state);
    return is_other_word && !cm_unit_is_clear(spelling) ? CM_UNIT_NONE : cm_unit_of(spelling);
}

bool cm_unit_may_begin(struct cm_span text)
{
    uint32_t state = 0;
    size_t at = skip_gap(text, 0);
    bool is_other_word = walk(text, &at, &state);
    int32_t spelling = cm_walk_word(&cm_units, state);
    bool ends = spelling >= 0 && (!is_other_word || cm_unit_is_clear(spelling));
    return text.length > 0 && (at == text.length || ends);
}
