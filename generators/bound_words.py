"""Words by which generators/bounds.py knows numbers, negations and Chinese surnames."""

from __future__ import annotations

COUNTED = {
    "en": "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
    " hundred hundreds thousand thousands million millions billion dozen dozens half twice",
    "de": "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig vierzig"
    " fünfzig sechzig siebzig achtzig neunzig hundert tausend million millionen",
    "fr": "deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
    " vingt trente quarante cinquante soixante cent cents mille million millions",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince veinte"
    " treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento mil millón millones",
}
NEGATIONS = {
    "en": "not no never none nothing nobody nowhere neither nor cannot without hardly",
    "de": "nicht nie niemals nichts niemand kein keine keinen keinem keiner ohne weder",
    "fr": "pas jamais rien personne aucun aucune sans ni",
    "es": "no nunca nada nadie ningún ninguna sin ni jamás",
    "zh": "不 没 沒 无 無 非 未 勿",
}
# Common surnames that are seldom another word.
SURNAMES = frozenset(
    "李王张張刘劉陈陳杨楊赵趙吴吳徐孙孫朱胡郭林罗羅郑鄭梁谢謝宋唐许許韩韓冯馮邓鄧曹彭曾萧蕭"
    "蔡潘袁董余苏蘇叶葉吕呂魏蒋蔣卢盧沈姚崔陆陸汪姜廖贾賈韦韋付邹鄒熊孟秦薛侯雷龙龍"
)
