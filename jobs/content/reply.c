#include "jobs/content/reply.h"

#include "jobs/language.h"

#include <string.h>

static const char *const REFUSALS[] = {
    "do not have",
    "don't have",
    "does not have this",
    "no information",
    "not mentioned",
    "not specified",
    "not stated",
    "not provided",
    "cannot confirm",
    "can't confirm",
    "can not confirm",
    "unable to",
    "not sure",
    "do not know",
    "don't know",
    "not listed",
    "does not say",
    "doesn't say",
    "not include information",
    "no details",
    "cannot find",
    "not able to",
    "没有这方面",
    "暂时没有",
    "没有相关",
    "未提及",
    "没有提及",
    "没有说明",
    "无法确认",
    "不清楚",
    "未说明",
    "暂无",
    "没有提供",
    "未提供",
    "无法回答",
    "没有该信息",
    "没有这个信息",
    "不确定",
    "keine information",
    "nicht bekannt",
    "pas cette information",
    "n'avons pas",
    "no tenemos",
    "non abbiamo",
    "não temos",
    "geen informatie",
    "情報はございません",
    "わかりかねます",
};

static const char *const COURTESIES[] = {
    "thank",
    "sorry",
    "apolog",
    "contact",
    "customer service",
    "support",
    "reach out",
    "let us",
    "welcome",
    "find out",
    "get back",
    "hello",
    "hi,",
    "dear ",
    "for you",
    "happy to help",
    "glad",
    "感谢",
    "谢谢",
    "抱歉",
    "您好",
    "你好",
    "联系",
    "客服",
    "核实",
    "咨询",
    "帮您",
    "为您",
    "欢迎",
    "请稍",
    "dank ",
    "danke",
    "kontakt",
    "kundendienst",
    "merci",
    "service client",
    "gracias",
    "atención al cliente",
    "grazie",
    "servizio clienti",
    "obrigado",
    "apoio ao cliente",
    "bedankt",
    "klantenservice",
    "ありがとう",
    "お問い合わせ",
};

/* What a sentence says beside not knowing: "You can use it there, but we are not sure." */
static const char *const CLAIMS[] = { "you can", "yes,", "it can ", "it does", "可以使用，" };

static const char *const DENIALS[] = {
    "cannot",       "can not",       "can't",        "can’t",          "not able",
    "unable",       "not accept",    "not possible", "not allowed",    "don't accept",
    "no returns",   "not offer",     "not eligible", "non-returnable", "final sale",
    "不能",         "不可",          "无法",         "不支持",         "不接受",
    "不予",         "不允许",        "概不",         "nicht möglich",  "leider nicht",
    "pas possible", "no es posible", "no se puede",
};

#define COUNT_OF(list) (sizeof(list) / sizeof(list)[0])

static bool holds_one(struct cm_span text, const char *const *phrases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (cm_span_holds(text, phrases[i])) {
            return true;
        }
    }
    return false;
}

/* --- Sentences --- */

/* Bytes of a sentence's end at this place; a point only before a space. */
static size_t end_bytes(struct cm_span text, size_t at)
{
    static const char *const ends[] = { "!", "?", "\n", "。", "！", "？" };
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        size_t length = strlen(ends[i]);
        if (at + length <= text.length && memcmp(text.data + at, ends[i], length) == 0) {
            return length;
        }
    }
    bool is_point = text.data[at] == '.' && (at + 1 == text.length || text.data[at + 1] == ' ' ||
                                             text.data[at + 1] == '\n');
    return is_point ? 1 : 0;
}

/* Takes the next sentence off `rest`. False: none is left. */
static bool next_sentence(struct cm_span *rest, struct cm_span *sentence)
{
    *rest = cm_span_trim(*rest);
    size_t at = 0;
    size_t end = 0;
    while (at < rest->length && (end = end_bytes(*rest, at)) == 0) {
        at++;
    }
    *sentence = (struct cm_span){ rest->data, at + end };
    rest->data += at + end;
    rest->length -= at + end;
    return sentence->length > 0;
}

static bool is_courtesy(struct cm_span sentence)
{
    return holds_one(sentence, COURTESIES, COUNT_OF(COURTESIES));
}

bool cm_reply_refuses(struct cm_span reply)
{
    return holds_one(reply, REFUSALS, COUNT_OF(REFUSALS));
}

bool cm_reply_refuses_alone(struct cm_span reply)
{
    struct cm_span sentence;
    bool refuses = cm_reply_refuses(reply);
    while (refuses && next_sentence(&reply, &sentence)) {
        refuses = is_courtesy(sentence) ||
                  (cm_reply_refuses(sentence) && !holds_one(sentence, CLAIMS, COUNT_OF(CLAIMS)));
    }
    return refuses;
}

static bool denies(struct cm_span text)
{
    return holds_one(text, DENIALS, COUNT_OF(DENIALS));
}

bool cm_reply_is_opposite(struct cm_span reply, struct cm_span policy)
{
    struct cm_span sentence;
    if (policy.length == 0 || cm_reply_refuses(reply)) {
        return false;
    }
    size_t sentences = 0;
    size_t denials = 0;
    for (struct cm_span rest = policy; next_sentence(&rest, &sentence); sentences++) {
        denials += denies(sentence);
    }
    while (next_sentence(&reply, &sentence)) {
        if (denies(sentence)) {
            return denials == 0;
        }
        if (!is_courtesy(sentence)) {
            return denials == sentences;
        }
    }
    return false;
}

static const struct {
    const char *language;
    const char *before;
    const char *after;
} REPLIES[] = {
    { "en", "Thank you for asking! We do not have this information about \"",
      "\" at hand. Please contact our customer service, and we will gladly find out for you." },
    { "zh", "感谢您的咨询！关于“",
      "”，我们暂时没有这方面的信息。请联系人工客服，我们很乐意为您核实。" },
    { "de", "Vielen Dank für Ihre Frage! Zu „",
      "“ liegt uns dazu keine Information vor. Unser Kundendienst klärt das gern für Sie." },
    { "fr", "Merci pour votre question ! Nous n'avons pas cette information sur « ",
      " ». Notre service client se renseignera volontiers pour vous." },
    { "es", "¡Gracias por su pregunta! No tenemos esta información sobre «",
      "». Nuestro servicio de atención al cliente lo averiguará con gusto." },
    { "it", "Grazie per la domanda! Non abbiamo questa informazione su «",
      "». Il nostro servizio clienti la cercherà volentieri per Lei." },
    { "pt", "Obrigado pela pergunta! Não temos esta informação sobre \"",
      "\". O nosso apoio ao cliente terá todo o gosto em verificar." },
    { "nl", "Bedankt voor uw vraag! Wij hebben geen informatie hierover bij \"",
      "\". Onze klantenservice zoekt het graag voor u uit." },
    { "ja", "お問い合わせありがとうございます。「",
      "」について、その情報はございません。カスタマーサービスまでお問い合わせください。" },
};

enum cm_status cm_reply_append_refusal(struct cm_text *text, const char *language,
                                       const char *title)
{
    enum { TITLE_CHARACTERS_MAX = 80 };
    for (size_t i = 0; i < sizeof REPLIES / sizeof REPLIES[0]; i++) {
        if (cm_language_is(language, REPLIES[i].language)) {
            enum cm_status status = cm_text_append_string(text, REPLIES[i].before);
            if (status == CM_OK) {
                status = cm_text_append_string(text, title);
            }
            return status == CM_OK ? cm_text_append_string(text, REPLIES[i].after) : status;
        }
    }
    return CM_UNSUPPORTED;
}
