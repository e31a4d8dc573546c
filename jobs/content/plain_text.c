#include "jobs/content/plain_text.h"

#include "base/memory.h"

#include <string.h>

#include <utf8proc.h>

/* Traditional characters, each with its simplified form behind it, in the order of their bytes:
 * those that the lexicons and common words of copy use. No library here converts, and a comparison
 * needs no more. All are three bytes of UTF-8. */
static const char SIMPLIFIED[] =
    "亂乱來来倉仓個个們们倫伦側侧偽伪傭佣傳传債债傷伤傾倾僅仅價价儀仪億亿償偿優优兒儿內内兩两"
    "冊册凍冻凱凯別别刪删則则剎刹剛刚創创劃划劇剧劉刘劑剂勁劲動动務务勝胜勞劳勢势勳勋勵励勸劝"
    "區区協协卻却厭厌厲厉參参吳吴員员問问啟启喪丧單单嗎吗嘆叹嚇吓嚴严國国圍围園园圓圆圖图團团"
    "執执堅坚報报場场塊块墜坠壇坛壓压壞坏壟垄壯壮夢梦實实寫写專专對对導导岡冈師师幾几廠厂廣广"
    "廳厅張张強强後后從从復复恆恒惡恶愛爱態态慘惨慣惯憐怜憑凭憶忆戀恋戰战戲戏拋抛掃扫掛挂揚扬"
    "換换揮挥損损搖摇搶抢撫抚擇择擊击擋挡擔担據据擠挤擬拟擴扩擺摆攜携攝摄敗败敘叙敵敌數数斷断"
    "於于時时暢畅曆历曉晓曬晒書书會会朧胧東东條条棄弃楊杨業业極极榮荣構构樂乐樓楼標标樣样機机"
    "檔档檢检權权歐欧歡欢歲岁歷历歸归殘残殺杀殼壳氣气決决沖冲況况淚泪淨净淺浅減减湊凑湯汤準准"
    "溝沟滅灭漢汉漲涨潔洁潤润澤泽濃浓濕湿濾滤為为無无煙烟煩烦熱热燈灯燒烧營营燦灿爐炉爛烂爭争"
    "爺爷牆墙狀状猶犹獎奖獨独獲获獵猎獸兽現现瑩莹瑪玛環环產产畫画異异疊叠痠酸療疗癒愈癢痒發发"
    "盜盗盡尽監监盤盘盧卢眾众瞭了確确碼码礙碍礦矿禍祸禦御禮礼種种稱称穀谷穩稳窩窝窮穷競竞筆笔"
    "節节範范簡简籃篮糧粮糰团糾纠紀纪約约紅红純纯紙纸級级細细終终組组結结絕绝給给統统絲丝經经"
    "綠绿維维網网緊紧線线編编練练縣县縮缩總总績绩織织續续纏缠纖纤罈坛罰罚羅罗羨羡義义習习聖圣"
    "聞闻聯联聰聪職职聽听肅肃腎肾腦脑腫肿膚肤膠胶膽胆臉脸臟脏臨临與与興兴舉举舊旧艦舰艱艰芻刍"
    "莊庄華华萊莱萬万葉叶蓋盖蓮莲蔔卜蔥葱薑姜薦荐藝艺藥药蘇苏蘋苹蘭兰處处虛虚號号虧亏蝦虾蟲虫"
    "術术衛卫裏里補补裝装裡里製制襪袜襯衬襲袭覆复見见規规親亲覺觉觀观訂订計计訊讯討讨訓训記记"
    "訪访設设許许診诊註注評评詞词試试話话該该詳详誇夸認认語语說说課课調调談谈請请論论諸诸講讲"
    "謝谢證证識识譯译護护譽誉讀读變变讓让豐丰豬猪貓猫負负財财貨货販贩貪贪貫贯責责貴贵買买貸贷"
    "費费資资賓宾賢贤賣卖賤贱質质賬账賺赚購购賽赛贈赠贊赞贏赢趕赶趨趋跡迹踐践躍跃車车軍军軟软"
    "載载輕轻輝辉輪轮輯辑輸输輻辐轉转辦办農农這这連连進进遊游運运過过達达違违遜逊遠远適适遲迟"
    "遷迁選选還还邊边郵邮鄉乡鄭郑鄰邻醫医醬酱釋释針针鈕钮鈣钙鈴铃鉤钩銀银銷销鋒锋鋼钢錢钱鍋锅"
    "鍵键鎖锁鎮镇鏡镜鐘钟鐵铁鑽钻長长門门閃闪開开間间閱阅闆板闊阔關关陰阴陳陈陸陆陽阳隊队階阶"
    "際际隨随險险隱隐雙双雜杂雞鸡離离難难雲云電电霧雾靈灵靜静韌韧韓韩響响頁页頂顶項项順顺須须"
    "預预領领頭头頻频題题額额顏颜類类顧顾風风飄飘飛飞飯饭飲饮飽饱餅饼養养餘余館馆馬马馮冯駕驾"
    "驅驱驗验驚惊髏髅髒脏體体髮发鬆松鬍胡鬚须鬧闹魚鱼魯鲁鮮鲜鳥鸟鳳凤鴨鸭鵝鹅鹽盐麗丽麥麦麵面"
    "黃黄點点黨党齊齐齒齿龍龙龜龟";
enum {
    CHARACTER_BYTES = 3,
    PAIR_BYTES = 2 * CHARACTER_BYTES,
    PAIRS_COUNT = (sizeof SIMPLIFIED - 1) / PAIR_BYTES,
};

static uint32_t decode(const char *bytes)
{
    const unsigned char *at = (const unsigned char *)bytes;
    return (uint32_t)(at[0] & 0x0F) << 12 | (uint32_t)(at[1] & 0x3F) << 6 | (at[2] & 0x3F);
}

static uint32_t simplify(uint32_t code)
{
    size_t first = 0;
    size_t last = PAIRS_COUNT;
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        const char *pair = SIMPLIFIED + middle * PAIR_BYTES;
        uint32_t traditional = decode(pair);
        if (traditional == code) {
            return decode(pair + CHARACTER_BYTES);
        }
        if (traditional < code) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return code;
}

bool cm_plain_is_at(const struct cm_plain_text *plain, size_t at, const uint32_t *codes,
                    size_t count)
{
    if (count > plain->count || at > plain->count - count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (plain->characters[at + i].code != codes[i]) {
            return false;
        }
    }
    return true;
}

bool cm_plain_is_ideograph(uint32_t code)
{
    return (code >= 0x3400 && code <= 0x9FFF) || (code >= 0xF900 && code <= 0xFAFF) ||
           (code >= 0x20000 && code <= 0x323AF);
}

bool cm_plain_is_word(uint32_t code)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

uint32_t cm_plain_code(uint32_t code)
{
    if (code >= 0xFF01 && code <= 0xFF5E) {
        code -= 0xFEE0;
    } else if (code == 0x3000 || code == 0xA0) {
        code = ' ';
    }
    if (code < 0x80) {
        return code >= 'A' && code <= 'Z' ? code + ('a' - 'A') : code;
    }
    if (code >= 0x3400 && code <= 0x9FFF) {
        return simplify(code);
    }
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CS:
        return 0;
    default:
        return (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
    }
}

/* --- What hides a word --- */

/* What people put between the characters of a word that a filter should not see. */
static bool is_filler(uint32_t code)
{
    switch (code) {
    case ' ':
    case '\t':
    case '.':
    case '-':
    case '_':
    case '*':
    case '~':
    case '|':
    case '/':
    case '+':
    case '^':
    case 0xB7:   /* middle dot */
    case 0x2022: /* bullet */
    case 0x30FB: /* katakana middle dot */
        return true;
    default:
        return false;
    }
}

static bool is_lone_letter(const struct cm_plain_text *plain, size_t at)
{
    uint32_t code = plain->characters[at].code;
    bool is_letter = code < 0x80 && code >= 'a' && code <= 'z';
    bool left = at == 0 || !cm_plain_is_word(plain->characters[at - 1].code);
    bool right = at + 1 == plain->count || !cm_plain_is_word(plain->characters[at + 1].code);
    return is_letter && left && right;
}

/* "b.e.s.t": the end of a run of three or more lone letters with the same filler between them that
 * begins at `at`; `at` where there is none. */
static size_t spelled_end(const struct cm_plain_text *plain, size_t at)
{
    enum { LETTERS_MIN = 3 };
    size_t letters = 0;
    size_t end = at;
    for (size_t i = at; i < plain->count && is_lone_letter(plain, i); i += 2) {
        letters++;
        end = i + 1;
        bool goes_on = i + 1 < plain->count && is_filler(plain->characters[i + 1].code) &&
                       plain->characters[i + 1].code == plain->characters[at + 1].code;
        if (!goes_on) {
            break;
        }
    }
    return letters >= LETTERS_MIN ? end : at;
}

/* Drops the fillers, in place: what is kept never stands behind where it was. */
static void drop_fillers(struct cm_plain_text *plain)
{
    struct cm_plain_character *characters = plain->characters;
    size_t kept = 0;
    uint32_t before = 0; /* the last character looked at, which may have been written over */
    for (size_t at = 0; at < plain->count;) {
        size_t end = at;
        while (end < plain->count && is_filler(characters[end].code)) {
            end++;
        }
        if (end > at) {
            bool hides = cm_plain_is_ideograph(before) && end < plain->count &&
                         cm_plain_is_ideograph(characters[end].code);
            for (; at < end; at++) {
                before = characters[at].code;
                if (!hides) {
                    characters[kept++] = characters[at];
                }
            }
            continue;
        }
        size_t spelled = spelled_end(plain, at);
        do {
            before = characters[at].code;
            characters[kept++] = characters[at];
            at += spelled > at + 1 ? 2 : 1;
        } while (at < spelled);
    }
    plain->count = kept;
}

void cm_plain_text_deinit(struct cm_plain_text *plain)
{
    cm_free(plain->characters);
    *plain = (struct cm_plain_text){ 0 };
}

enum cm_status cm_plain_text_fill(struct cm_plain_text *plain, struct cm_span text)
{
    plain->count = 0;
    size_t length = text.length < CM_PLAIN_CHARACTERS_MAX ? text.length : CM_PLAIN_CHARACTERS_MAX;
    void *block = plain->characters;
    enum cm_status status =
        cm_grow(&block, &plain->capacity, length + 1, sizeof *plain->characters);
    plain->characters = block;
    if (status != CM_OK) {
        return status;
    }
    for (size_t at = 0; at < length;) {
        utf8proc_int32_t character;
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                                  (utf8proc_ssize_t)(length - at), &character);
        size_t end = at + (bytes > 0 ? (size_t)bytes : 1);
        uint32_t code = bytes > 0 ? cm_plain_code((uint32_t)character) : 0;
        if (code != 0) {
            plain->characters[plain->count++] =
                (struct cm_plain_character){ code, (uint32_t)at, (uint32_t)end };
        }
        at = end;
    }
    drop_fillers(plain);
    return CM_OK;
}
