#include "jobs/content/quantities.h"

#include "base/memory.h"
#include "jobs/numbers.h"
#include "jobs/units.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { LENGTH, MASS, VOLUME, POWER, ENERGY, VOLTAGE, CHARGE, DATA, FREQUENCY, TIME, MONEY };

struct cm_unit {
    const char *name;
    enum kind kind;
    double factor; /* of the kind's own unit */
};

static const struct cm_unit UNITS[] = {
    { "mm", LENGTH, 1 },
    { "millimetres", LENGTH, 1 },
    { "millimeters", LENGTH, 1 },
    { "毫米", LENGTH, 1 },
    { "cm", LENGTH, 10 },
    { "centimetres", LENGTH, 10 },
    { "centimeters", LENGTH, 10 },
    { "厘米", LENGTH, 10 },
    { "公分", LENGTH, 10 },
    { "m", LENGTH, 1000 },
    { "metre", LENGTH, 1000 },
    { "metres", LENGTH, 1000 },
    { "meter", LENGTH, 1000 },
    { "meters", LENGTH, 1000 },
    { "米", LENGTH, 1000 },
    { "km", LENGTH, 1e6 },
    { "公里", LENGTH, 1e6 },
    { "in", LENGTH, 25.4 },
    { "inch", LENGTH, 25.4 },
    { "inches", LENGTH, 25.4 },
    { "英寸", LENGTH, 25.4 },
    { "yard", LENGTH, 914.4 },
    { "yards", LENGTH, 914.4 },
    { "mile", LENGTH, 1609344 },
    { "miles", LENGTH, 1609344 },
    { "ft", LENGTH, 304.8 },
    { "foot", LENGTH, 304.8 },
    { "feet", LENGTH, 304.8 },
    { "mg", MASS, 0.001 },
    { "毫克", MASS, 0.001 },
    { "g", MASS, 1 },
    { "gram", MASS, 1 },
    { "grams", MASS, 1 },
    { "克", MASS, 1 },
    { "kg", MASS, 1000 },
    { "kilogram", MASS, 1000 },
    { "kilograms", MASS, 1000 },
    { "千克", MASS, 1000 },
    { "公斤", MASS, 1000 },
    { "斤", MASS, 500 },
    { "oz", MASS, 28.35 },
    { "ounce", MASS, 28.35 },
    { "ounces", MASS, 28.35 },
    { "lb", MASS, 453.6 },
    { "lbs", MASS, 453.6 },
    { "pound", MASS, 453.6 },
    { "pounds", MASS, 453.6 },
    { "ml", VOLUME, 1 },
    { "millilitres", VOLUME, 1 },
    { "milliliters", VOLUME, 1 },
    { "毫升", VOLUME, 1 },
    { "cl", VOLUME, 10 },
    { "l", VOLUME, 1000 },
    { "litre", VOLUME, 1000 },
    { "litres", VOLUME, 1000 },
    { "liter", VOLUME, 1000 },
    { "liters", VOLUME, 1000 },
    { "升", VOLUME, 1000 },
    { "fl oz", VOLUME, 29.57 },
    { "pint", VOLUME, 473.2 },
    { "pints", VOLUME, 473.2 },
    { "quart", VOLUME, 946.4 },
    { "quarts", VOLUME, 946.4 },
    { "gallon", VOLUME, 3785 },
    { "gallons", VOLUME, 3785 },
    { "加仑", VOLUME, 3785 },
    { "w", POWER, 1 },
    { "watt", POWER, 1 },
    { "watts", POWER, 1 },
    { "瓦", POWER, 1 },
    { "kw", POWER, 1000 },
    { "wh", ENERGY, 1 },
    { "kwh", ENERGY, 1000 },
    { "v", VOLTAGE, 1 },
    { "volt", VOLTAGE, 1 },
    { "volts", VOLTAGE, 1 },
    { "伏", VOLTAGE, 1 },
    { "mah", CHARGE, 1 },
    { "毫安时", CHARGE, 1 },
    { "ah", CHARGE, 1000 },
    { "mb", DATA, 1 },
    { "gb", DATA, 1000 },
    { "tb", DATA, 1e6 },
    { "hz", FREQUENCY, 1 },
    { "khz", FREQUENCY, 1000 },
    { "mhz", FREQUENCY, 1e6 },
    { "ghz", FREQUENCY, 1e9 },
    { "min", TIME, 1 },
    { "minute", TIME, 1 },
    { "minutes", TIME, 1 },
    { "分钟", TIME, 1 },
    { "h", TIME, 60 },
    { "hour", TIME, 60 },
    { "hours", TIME, 60 },
    { "小时", TIME, 60 },
    { "day", TIME, 1440 },
    { "days", TIME, 1440 },
    { "天", TIME, 1440 },
    { "week", TIME, 10080 },
    { "weeks", TIME, 10080 },
    { "周", TIME, 10080 },
    { "month", TIME, 43800 },
    { "months", TIME, 43800 },
    { "个月", TIME, 43800 },
    { "year", TIME, 525600 },
    { "years", TIME, 525600 },
    { "年", TIME, 525600 },
    { "usd", MONEY, 1 },
    { "dollars", MONEY, 1 },
    { "eur", MONEY, 1.1 },
    { "euros", MONEY, 1.1 },
    { "元", MONEY, 0.14 },
};

void cm_quantities_deinit(struct cm_quantities *quantities)
{
    cm_free(quantities->items);
    *quantities = (struct cm_quantities){ 0 };
}

/* "1,299.50" and its full-width form; a comma parts thousands where three digits follow. */
static double read_value(struct cm_span number)
{
    char digits[64];
    size_t length = 0;
    for (size_t i = 0; i < number.length && length + 1 < sizeof digits; i++) {
        unsigned char byte = (unsigned char)number.data[i];
        if (isdigit(byte) || byte == '.') {
            digits[length++] = (char)byte;
        } else if (byte == 0xEF && i + 2 < number.length) { /* U+FF10 to U+FF19 */
            unsigned char last = (unsigned char)number.data[i + 2];
            if (last >= 0x90 && last <= 0x99) {
                digits[length++] = (char)('0' + (last - 0x90));
            }
            i += 2;
        } else if (byte == ',' && i + 4 != number.length &&
                   !(i + 4 < number.length && !isdigit((unsigned char)number.data[i + 4]))) {
            digits[length++] = '.';
        }
    }
    digits[length] = '\0';
    return strtod(digits, NULL);
}

/* The unit at the start of `rest`, which begins right behind a number. */
static const struct cm_unit *read_unit(struct cm_span rest, size_t *bytes)
{
    const struct cm_unit *best = NULL;
    size_t skip = rest.length > 0 && (rest.data[0] == ' ' || rest.data[0] == '-') ? 1 : 0;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        size_t length = strlen(UNITS[i].name);
        if (rest.length < skip + length ||
            strncasecmp(rest.data + skip, UNITS[i].name, length) != 0) {
            continue;
        }
        bool is_ascii = (unsigned char)UNITS[i].name[0] < 0x80;
        bool goes_on = is_ascii && rest.length > skip + length &&
                       isalnum((unsigned char)rest.data[skip + length]);
        if (!goes_on && (best == NULL || length > strlen(best->name))) {
            best = &UNITS[i];
        }
    }
    /* "2 in 1" and "5 in total" are no inches. */
    if (best != NULL && strcmp(best->name, "in") == 0 && skip == 1 && rest.data[0] == ' ') {
        best = NULL;
    }
    *bytes = best != NULL ? skip + strlen(best->name) : 0;
    return best;
}

enum cm_status cm_quantities_fill(struct cm_quantities *quantities, struct cm_span text)
{
    static const struct cm_numbers none = { 0 }; /* of which every number is missing */
    struct cm_span number;
    quantities->count = 0;
    for (size_t at = 0; cm_numbers_next_missing(&none, text, &at, &number);) {
        void *block = quantities->items;
        enum cm_status status = cm_grow(&block, &quantities->capacity, quantities->count + 1,
                                        sizeof *quantities->items);
        quantities->items = block;
        if (status != CM_OK) {
            return status;
        }
        struct cm_span rest = { number.data + number.length,
                                (size_t)(text.data + text.length - (number.data + number.length)) };
        size_t unit_bytes;
        const struct cm_unit *unit = read_unit(rest, &unit_bytes);
        quantities->items[quantities->count++] = (struct cm_quantity){
            .value = read_value(number),
            .unit = unit,
            .span = { number.data, number.length + unit_bytes },
        };
    }
    return CM_OK;
}

/* A line "name number" and nothing else. */
static bool is_untold(struct cm_span facts, struct cm_span number)
{
    size_t begin = (size_t)(number.data - facts.data);
    size_t end = begin + number.length;
    size_t line = begin;
    while (line > 0 && facts.data[line - 1] != '\n') {
        line--;
    }
    struct cm_span name = { facts.data + line, begin - line };
    return (end == facts.length || facts.data[end] == '\n') && cm_unit_is_untold(name, number);
}

enum cm_status cm_quantities_fill_facts(struct cm_quantities *quantities, struct cm_span facts)
{
    enum cm_status status = cm_quantities_fill(quantities, facts);
    for (size_t i = 0; i < quantities->count && status == CM_OK; i++) {
        struct cm_quantity *quantity = &quantities->items[i];
        quantity->is_untold = quantity->unit == NULL && is_untold(facts, quantity->span);
    }
    return status;
}

bool cm_quantities_hold_converted(const struct cm_quantities *facts,
                                  const struct cm_quantity *quantity)
{
    for (size_t i = 0; quantity->unit != NULL && i < facts->count; i++) {
        const struct cm_quantity *fact = &facts->items[i];
        if (fact->unit != NULL && fact->unit->kind == quantity->unit->kind &&
            fact->unit->kind != MONEY) {
            double a = fact->value * fact->unit->factor;
            double b = quantity->value * quantity->unit->factor;
            if (fabs(a - b) <= 0.02 * fmax(fabs(a), fabs(b))) {
                return true;
            }
        }
    }
    return false;
}

bool cm_quantities_contradict(const struct cm_quantities *facts, const struct cm_quantity *quantity)
{
    bool found = false;
    if (quantity->unit == NULL || quantity->unit->kind == MONEY) {
        return false;
    }
    for (size_t i = 0; i < facts->count; i++) {
        const struct cm_quantity *fact = &facts->items[i];
        if (fact->value != quantity->value) {
            continue;
        }
        bool is_free = fact->unit == NULL && !fact->is_untold;
        bool is_same = fact->unit != NULL && fact->unit->kind == quantity->unit->kind &&
                       fact->unit->factor == quantity->unit->factor;
        if (is_free || is_same) {
            return false;
        }
        found = true;
    }
    return found && !cm_quantities_hold_converted(facts, quantity);
}
